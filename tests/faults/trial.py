"""Live streams while things fail, and what may be missing from their recordings then."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.world import Broadcast, Json, World, eventually
from tests.faults.judge import assert_undisturbed, without
from tests.faults.kills import FATAL, Done
from tests.faults.origin import BucketTarget, WebOrigin
from tests.faults.publisher import Channel, Publisher, Run, Script
from tests.faults.world import announce, outcome

# So long may a service that nothing disturbs any more take for the next segment of a window: a
# process that starts, a playlist that is looked at, attempts that were begun before.
MARGIN_S = 12.0
# And so long may pass from when a segment is listed to when a playlist is looked at again: a target
# duration (RFC 8216 6.3.4).
LOOK_S = 4.0


@dataclass(kw_only=True)
class Show:
    """A stream that is shown while things fail. ``web``: where it is, if not in the bucket."""

    name: str
    live: Broadcast
    channel: Channel
    web: WebOrigin | None = None

    @property
    def slides(self) -> bool:
        return self.channel.script.window is not None

    def announce(self) -> None:
        more = {} if self.web is None else {"hls_path": self.web.url(self.live.key)}
        announce(self.live, "started", **more)

    def recorded(self) -> bool:
        """Whether there is something of it in the catalogue."""
        found = self.live.world.recordings(self.live.stream_id)
        return bool(found) and found[0]["progress"]["segments"] > 0

    def may_be_lost(self, done: Sequence[Done]) -> set[int]:
        """Segments that nobody could have captured: from when somebody had to look until they were
        listed no more, the service as a whole or, if they lie in it, the bucket was away, or had
        just come back.

        Of a stream whose playlist keeps everything, none.
        """
        window = self.channel.script.window
        if window is None:
            return set()
        away = [
            (one.began, one.over + MARGIN_S)
            for one in done
            if (one.pids and one.fault.what in FATAL)
            or (one.fault.manner and one.fault.what == "s3" and self.web is None)
        ]
        shown = self.channel.published
        return {
            segment.sequence
            for segment, behind in zip(shown, shown[window:], strict=False)
            if _covers(away, segment.at + LOOK_S, behind.at)
        }

    def judge(self, done: Sequence[Done], folder: Path, *, within_s: float) -> str:
        """What is wrong with its recording; empty if nothing is."""
        try:
            found = outcome(self.live, within_s=within_s)
            if [r["status"] for r in found] != ["completed"]:
                return f"{self.name}: {[(r['status'], r['error'], r['gaps']) for r in found]}"
            (recording,) = found
            lost = lost_segments(recording)
            if unexplained := lost - self.may_be_lost(done):
                return f"{self.name}: lost {sorted(unexplained)}: {recording['gaps']}"
            mp4 = self.live.world.fetch(recording, folder / self.name)
            assert_undisturbed(mp4, without(self.live.playlist, lost, folder / self.name), folder)
        except AssertionError as error:
            found = self.live.world.recordings(self.live.stream_id)
            return f"{self.name}: {error}: {[(r['status'], r['gaps']) for r in found]}"
        return ""


def lost_segments(recording: Json) -> set[int]:
    """By media sequence number, as the gaps say."""
    return {number for gap in recording["gaps"] for number in gap["segments"]}


def _covers(spans: Sequence[tuple[float, float]], begin: float, end: float) -> bool:
    """Whether no moment between ``begin`` and ``end`` is outside all of ``spans``."""
    for first, last in sorted(spans):
        if first > begin:
            return False
        begin = max(begin, last)
        if begin >= end:
            return True
    return False


@contextmanager
def shows(world: World, playlist: Path, origin: WebOrigin, folder: Path) -> Iterator[list[Show]]:
    """One stream of each kind, of which something is recorded; they go on to their end."""
    run = Run(playlist=playlist)
    scripts = {
        "event": Script(runs=(run,), already=1),
        "growing": Script(runs=(run,), already=1, event=False),
        "window": Script(runs=(run,), already=1, window=6, kept=0),
        "signed": Script(runs=(run,), already=1, window=6, kept=0),
    }
    bucket = BucketTarget(world.store, world.hls_bucket)
    with Publisher(writers=4) as publisher:
        found = []
        for name, script in scripts.items():
            live = Broadcast(world=world, playlist=playlist)
            web = origin if name == "signed" else None
            channel = publisher.add(web or bucket, live.key, script)
            found.append(Show(name=name, live=live, channel=channel, web=web))
        eventually(lambda: all(show.channel.published for show in found))
        for show in found:
            show.announce()
        eventually(lambda: all(show.recorded() for show in found))
        yield found
        publisher.wait(2 * sum(show.channel.seconds for show in found) + 600)
