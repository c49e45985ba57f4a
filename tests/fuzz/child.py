"""The process in which damaged inputs are tried: seeds come in by standard input, one a line;
findings go out as lines of JSON. Whatever FFmpeg or a hang does to this process is seen outside."""

import faulthandler
import gc
import json
import os
import resource
import signal
import sys
from pathlib import Path

import structlog

from tests.fuzz.bases import Bases
from tests.fuzz.case import make_case
from tests.fuzz.trial import Sound, try_case, try_sound

_MAX_BYTES = 4 * 2**30


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    bases = Bases(Path(sys.argv[1]))
    sound: dict[str, Sound | None] = {}
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        seed = line.strip()
        base = seed.rpartition(":")[0]
        if base not in sound:
            sound[base] = try_sound(make_case(f"{base}:0", bases))
        case = make_case(seed, bases)
        outcome, problem = try_case(case, sound[base])
        gc.collect()
        found = {"outcome": outcome, "problem": problem, "story": ", ".join(case.story)}
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
