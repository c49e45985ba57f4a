"""An hour of stream, in the middle of which everything is killed."""

from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.world import Broadcast, eventually
from tests.faults.judge import assert_undisturbed
from tests.faults.origin import BucketTarget
from tests.faults.prepared import long_stream
from tests.faults.publisher import Publisher, Run, Script
from tests.faults.world import announce, faulty_service, outcome

SECONDS = 3600
SPEED = 40.0
# Finished chunks at the kill, and how many more show that work has gone on behind it.
MANY, MORE = 30, 10


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_no_finished_chunk_is_made_again(tmp_path: Path) -> None:
    """The ledger tells by the transaction that wrote each row. The stream goes on meanwhile."""
    playlist = long_stream(tmp_path / "source", SECONDS)
    with faulty_service(tmp_path) as service, closing(service.world()) as world:
        live = Broadcast(world=world, playlist=playlist)
        script = Script(runs=(Run(playlist=playlist),), already=1, speed=SPEED)
        with Publisher() as publisher:
            target = BucketTarget(world.store, world.hls_bucket)
            channel = publisher.add(target, live.key, script)
            eventually(lambda: channel.published)
            announce(live, "started")
            recording = live.recording()["id"]
            eventually(lambda: len(world.finished_chunks(recording)) >= MANY, within_s=120)
            before = world.finished_chunks(recording)
            at_kill = len(channel.published)
            service.trouble().start_again()
            eventually(
                lambda: len(world.finished_chunks(recording)) >= len(before) + MORE, within_s=120
            )
            after = world.finished_chunks(recording)
            publisher.wait(SECONDS / SPEED + 120)
        assert before.items() <= after.items()
        (done,) = outcome(live, within_s=120)
        assert (done["id"], done["status"], done["gaps"]) == (recording, "completed", [])
        print(
            f"\nkilled after {at_kill} segments with {len(before)} chunks finished: none of them"
            f" was made again among {len(after)}"
        )
        assert_undisturbed(world.fetch(done, tmp_path), [playlist], tmp_path)
