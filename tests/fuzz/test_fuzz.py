"""Whatever comes in: the recording ends, as a correct file or with one clear line, and the process
that made it lives on, as small as before."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fuzz.bases import Bases
from tests.fuzz.case import make_case
from tests.fuzz.harness import LIMIT_S, Finding, run
from tests.fuzz.seeds import failed_once, spread

_INPUTS = int(os.environ.get("VODRAY_FUZZ_INPUTS", "20000"))
_FIRST = int(os.environ.get("VODRAY_FUZZ_SEED", "1"))
_SHORT_INPUTS = 50
_WARM = 1000
_GROWTH_BYTES = 64 * 2**20


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    Bases(folder)
    return folder


def test_a_seed_always_means_the_same_input(clips: Path) -> None:
    bases = Bases(clips)
    for seed in spread(bases.names, 1, 100):
        one, same = make_case(seed, bases), make_case(seed, bases)
        assert one == same
    assert make_case("ts:0", bases).damaged == frozenset()


def test_seeds_that_failed_once(clips: Path) -> None:
    seeds = failed_once(Bases(clips).names)
    _assert_none_fails(list(run(seeds, clips)))


def test_some_damaged_inputs(clips: Path) -> None:
    """No fewer than would find a common fault."""
    _assert_none_fails(list(run(spread(Bases(clips).names, _FIRST, _SHORT_INPUTS), clips)))


@pytest.mark.soak
@pytest.mark.timeout(_INPUTS * LIMIT_S)
def test_many_damaged_inputs(clips: Path) -> None:
    seeds = spread(Bases(clips).names, _FIRST, _INPUTS)
    found = []
    for finding in run(seeds, clips, children=os.cpu_count() or 1):
        found.append(finding)
        if finding.problem or len(found) % 500 == 0:
            print(f"{len(found)} of {_INPUTS}\n{finding if finding.problem else ''}", flush=True)
    growth = _growth(found)
    for child, (first, last) in growth.items():
        print(f"child {child}: {first >> 20} MiB after {_WARM} inputs, {last >> 20} MiB at the end")
    _assert_none_fails(found)
    assert all(last - first < _GROWTH_BYTES for first, last in growth.values())


def _assert_none_fails(found: Sequence[Finding]) -> None:
    failed = [str(finding) for finding in found if finding.problem]
    assert not failed, f"{len(failed)} of {len(found)} inputs failed\n" + "\n".join(failed)


def _growth(found: Sequence[Finding]) -> dict[int, tuple[int, int]]:
    """The memory of each child that lived long enough to tell: at the last tenth of its inputs, and
    at the first after those that load code and fill the allocator's arenas; medians, in bytes."""
    sizes = defaultdict(list)
    for finding in found:
        sizes[finding.child].append(finding.rss_bytes)
    growth = {}
    for child, rss in sizes.items():
        tenth = (len(rss) - _WARM) // 10
        if tenth >= 10:
            first, last = rss[_WARM : _WARM + tenth], rss[-tenth:]
            growth[child] = sorted(first)[tenth // 2], sorted(last)[tenth // 2]
    return growth
