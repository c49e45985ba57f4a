"""Is the result of a corpus case what its ``case.json`` says? Every complaint is a line of text."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from click.testing import CliRunner

from pipeline.model import Status
from serve_app.commands import verify
from tests.corpus.cases import Case
from tests.corpus.readings import Decoded, Track, count_source_complaints, decode, read_tracks
from tests.local_pool import Result

FAILED = "failed"
_AGREE_S = 0.005
_ANEW = "encoded anew"
_DISCONTINUITY = "#EXT-X-DISCONTINUITY"


def outcome_of(result: Result) -> str:
    """In the words of ``case.json``."""
    if result.recording.status is not Status.COMPLETED:
        return str(result.recording.status)
    return "completed_with_gaps" if result.recording.gaps else "completed"


class Judge:
    """``tracks`` and ``decoded``: what FFmpeg reads in the result, where there is one."""

    def __init__(self, case: Case, result: Result) -> None:
        self._case, self._result = case, result
        self._expect = case.expect
        self.outcome = outcome_of(result)
        self.tracks: Sequence[Track] = ()
        self.decoded: Decoded | None = None
        if self.outcome != FAILED:
            self.tracks = read_tracks(result.mp4)
            self.decoded = decode(result.mp4, has_pictures=bool(self.video))

    @property
    def video(self) -> Track | None:
        return next((track for track in self.tracks if track.kind == "video"), None)

    @property
    def audio(self) -> Track | None:
        return next((track for track in self.tracks if track.kind == "audio"), None)

    @property
    def duration_s(self) -> float:
        if not self.tracks:
            return 0.0
        return max(t.end_s for t in self.tracks) - min(t.start_s for t in self.tracks)

    def complaints(self) -> Iterator[str]:
        """What is wrong; nothing if all is right."""
        if self.outcome not in self._expect["accept"]:
            why = self._result.recording.error or self._result.recording.gaps
            yield f"outcome {self.outcome} ({why}), accepted are {self._expect['accept']}"
            return
        if self.outcome == FAILED:
            yield from self._failure()
            return
        yield from self._media()
        yield from self._times()
        yield from self._pictures()
        yield from self._own_verdict()

    def _failure(self) -> Iterator[str]:
        error = self._result.recording.error or ""
        if not error or "\n" in error or "Internal error" in error or "Traceback" in error:
            yield f"the error is not one line that names the cause: {error!r}"
        left = [str(path) for path in self._result.folder.rglob("*") if path.is_file()]
        if left:
            yield f"a failed recording left {left}"

    def _media(self) -> Iterator[str]:
        wanted, found = self._wanted_frames(), self.video.packets if self.video else 0
        if found not in wanted:
            yield f"{found} video frames, wanted {wanted}"
        slack = self._expect["tolerance"]["audio_packets"]
        packets = self.audio.packets if self.audio else 0
        if self._is_whole and self._is_copied("audio"):
            if abs(packets - self._expect["audio_packets"]) > slack:
                yield f"{packets} audio packets, wanted {self._expect['audio_packets']} ± {slack}"
        elif self.audio and self.video:
            apart = abs(self.audio.sum_s - self.video.sum_s)
            if self._is_copied("audio") and apart > self._slack_s:
                yield f"audio and video differ by {apart:.3f} s in length"
        gaps = self._result.recording.gaps
        if gaps and len(gaps) != self._expect.get("gaps", len(gaps)):
            yield f"{len(gaps)} gaps, wanted {self._expect['gaps']}: {gaps}"
        breaks = self._result.playlist.read_text().splitlines().count(_DISCONTINUITY)
        if breaks != self._expect.get("discontinuities", breaks):
            yield f"{breaks} discontinuities in HLS, wanted {self._expect['discontinuities']}"

    def _times(self) -> Iterator[str]:
        wanted = [self._expect["duration_s"], *self._expect.get("duration_alternatives_s", ())]
        if all(abs(self.duration_s - one) > self._slack_s for one in wanted):
            yield f"{self.duration_s:.3f} s, wanted one of {wanted} ± {self._slack_s}"
        # Another length is one in which holes keep their place, on the tracks as well.
        as_is = abs(self.duration_s - wanted[0]) <= self._slack_s and self._is_whole
        for kind, track in (("video", self.video), ("audio", self.audio)):
            sum_s, length_s = track.sum_s if track else 0.0, self._expect[f"{kind}_duration_s"]
            if as_is and abs(sum_s - length_s) > self._slack_s:
                yield f"{kind} of {sum_s:.3f} s, wanted {length_s} ± {self._slack_s}"
        if self.video and self.audio and "av_offset_s" in self._expect:
            offset_s = self.audio.start_s - self.video.start_s
            if abs(offset_s - self._expect["av_offset_s"]) > self._slack_s / 4:
                yield f"audio starts {offset_s:.3f} s behind video"

    def _pictures(self) -> Iterator[str]:
        decoded, oracle = self.decoded, self._case.oracle
        assert decoded is not None
        allowed = count_source_complaints(self._case.playlist) if decoded.complaints else 0
        if len(decoded.complaints) > allowed:
            yield f"FFmpeg complains, over the source {allowed} times: {decoded.complaints[:5]}"
        if not self.video:
            return
        if decoded.frames != self.video.packets:
            yield f"{decoded.frames} frames decoded of {self.video.packets} packets"
        main = (self._expect["width"], self._expect["height"])
        sizes = [tuple(size) for size in self._expect.get("resolutions", [main])]
        copied = self._is_copied("video")
        if list(decoded.sizes) != (sizes if copied else [main]):
            yield f"pictures of {decoded.sizes}, wanted {sizes}"
        is_all = decoded.frames == oracle["decoded_video_frames_ffmpeg"]
        if copied and is_all and decoded.digest != oracle["decoded_frames_sha256"]:
            yield "the decoded frames are not those of the source"

    def _own_verdict(self) -> Iterator[str]:
        """``vodray verify``, which must agree with FFmpeg's count."""
        done = CliRunner().invoke(verify.command, [str(self._result.mp4), "--json"])
        verdict = json.loads(done.stdout)
        if not verdict["verified"]:
            yield f"vodray verify: {verdict['problem']}"
            return
        if sorted(verdict["tracks"]) != sorted(track.kind for track in self.tracks):
            yield f"vodray verify finds {verdict['tracks']}, FFmpeg {self.tracks}"
        packets = sum(track.packets for track in self.tracks)
        if verdict["samples"] != packets:
            yield f"vodray verify counts {verdict['samples']} samples, FFmpeg {packets}"
        end_s = max(track.end_s for track in self.tracks)
        if abs(verdict["duration_s"] - end_s) > _AGREE_S:
            yield f"vodray verify reads {verdict['duration_s']} s, FFmpeg {end_s}"
        report = self._result.report
        if report["frames_in"] != report["frames_out"] or report["frames_out"] != packets:
            yield f"the report counts {report['frames_in']} in, {report['frames_out']} out"

    @property
    def _slack_s(self) -> float:
        return self._expect["tolerance"]["duration_s"]

    @property
    def _is_whole(self) -> bool:
        """Whether everything that the case counts is there, so that lengths can be compared."""
        return (self.video.packets if self.video else 0) == self._expect["video_frames"]

    def _wanted_frames(self) -> range | list[int]:
        frames, slack = self._expect["video_frames"], self._expect["tolerance"]["video_frames"]
        if "video_frames_accept" in self._expect:
            return self._expect["video_frames_accept"]
        lowest = self._expect.get("video_frames_min", frames - slack)
        return range(lowest, self._expect.get("video_frames_max", frames + slack) + 1)

    def _is_copied(self, kind: str) -> bool:
        track = self.video if kind == "video" else self.audio
        if track is not None and track.codec != self._expect[f"{kind}_codec"]:
            return False
        return not any(_ANEW in name for name in remedies(self._result.report))


def remedies(report: dict[str, Any]) -> list[str]:
    """Names of what was done where segments could not simply be copied, each once."""
    return list(dict.fromkeys(noted["remedy"] for noted in report.get("remedies", ())))
