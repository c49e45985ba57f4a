"""Runs seeds again, or looks for new ones that fail.

python -m tests.fuzz ts:17 fmp4:4        these, with all that is known about each
python -m tests.fuzz --inputs 5000       so many, over all bases (--from: the first number)
python -m tests.fuzz ts:17 --keep DIR    writes the damaged input of each seed to DIR
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.bases import Bases
from tests.fuzz.case import make_case
from tests.fuzz.harness import run
from tests.fuzz.seeds import spread


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("seeds", nargs="*", metavar="BASE:NUMBER")
    parser.add_argument("--inputs", type=int, default=0)
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--base", action="append", help="only this one of them")
    parser.add_argument("--children", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, metavar="DIR")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-clips-") as name:
        bases = Bases(Path(name))
        unknown = {base for base, _, _ in (s.rpartition(":") for s in chosen.seeds)} - {
            *bases.names
        }
        if unknown:
            parser.error(f"no such base: {sorted(unknown)}; there are {bases.names}")
        seeds = [*chosen.seeds, *spread(chosen.base or bases.names, chosen.first, chosen.inputs)]
        for seed in seeds if chosen.keep else ():
            for path, data in make_case(seed, bases).files.items():
                target = chosen.keep / seed / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        outcomes: Counter[str] = Counter()
        failed = 0
        for finding in run(seeds, Path(name), children=min(chosen.children, len(seeds) or 1)):
            outcomes[finding.outcome.partition(":")[0]] += 1
            failed += bool(finding.problem)
            if finding.problem:
                print(finding, flush=True)
            elif finding.seed in chosen.seeds:
                print(f"{finding.seed}: {finding.outcome} ({finding.story})", flush=True)
    print(f"{sum(outcomes.values())} inputs, {failed} failed; {dict(outcomes)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
