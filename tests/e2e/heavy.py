"""A live stream of several chunks on its way through a service in which something happens."""

from tests.e2e.world import Broadcast, eventually

# At most so many segments appear at a time, so that all cases learn the sizes in the same way.
STEP = 6


def begin(live: Broadcast) -> Broadcast:
    """Half of the stream, of which a chunk is finished."""
    live.show(1)
    live.tell("started")
    live.recording()
    step(live, STEP - 1)
    step(live)
    eventually(lambda: live.world.finished_chunks(live.recording()["id"]))
    return live


def step(live: Broadcast, count: int = STEP) -> None:
    """More segments; returns when the recording knows them."""
    live.show(count)
    eventually(lambda: live.recording()["progress"]["segments"] == live.shown)


def finish(live: Broadcast) -> dict[str, object]:
    live.show(ended=True)
    live.tell("ended")
    done = live.completed(within_s=120)
    assert (done["duration"], done["gaps"]) == (48, [])
    return done
