"""What benches of encoding have in common: the service with a profile against one FFmpeg command
with the profile's settings, and what came out of both."""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from bench import peers, quality
from bench.facts import machine_facts
from bench.media import Content, Stream, high_rate, make_stream
from bench.quality import Quality
from bench.result import Figures, Options, Result
from bench.run import Contender, Sample, measure, ratios, spread, take_turns
from bench.stages import stage_table
from bench.world import World, running
from pipeline.errors import WorkerLost
from pipeline.model import EncodedPictures, FirstLook, Form, Output, PictureForm, Recording
from pipeline.profiles import find_profile, load_profiles, outputs_of

OURS, PEER = "vodray", "ffmpeg"
# The service makes ready for the next recording meanwhile, as it would between two streams.
_CALM_S = 3.0
_ONE_THREAD = ("-threads", "1")
_WARM_UP_S = 60

Command = Callable[[Sequence[Output], Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """``command``: FFmpeg's arguments behind the input that make the outputs, each as
    ``{its key here}.mp4``, with some that every output file gets; ``notes``: see ``Result``."""

    name: str
    title: str
    profile: str
    height: int
    command: Command
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """``alone``: FFmpeg with one thread, as many at once as there are cores, each with its share of
    the stream; ``offsets``: where chunks begin, by rendition; ``files``: by contender and output,
    of the last round."""

    samples: tuple[Sample, ...]
    alone: Sample
    timings: list[dict[str, Any]]
    offsets: Mapping[str, Sequence[int]]
    sizes: dict[str, list[int]]
    files: Mapping[str, Mapping[str, Path]]


def run(task: Task, options: Options, say: Callable[[str], object]) -> Result:
    """Raises ``WorkerLost`` where an output is missing."""
    facts = machine_facts(options.folder)
    content = high_rate(options.content, task.height)
    say(f"input: {options.length_s} s of {content.title}")
    media = options.folder / "media"
    stream = make_stream(content, options.length_s, media)
    short = make_stream(content, min(options.length_s, _WARM_UP_S), media)
    outputs = outputs_of(find_profile(task.profile, load_profiles(None)), _look(content))
    kept = options.folder / "results" / f"{task.name}-{os.getpid()}"
    try:
        ran = _run(task, outputs, (stream, short), options, kept, say)
        say("looking at what was made")
        pictures = quality.count_pictures(stream.playlist)
        made = _look_at(ran, outputs, stream, say)
    finally:
        shutil.rmtree(kept, ignore_errors=True)
    return Result(
        name=task.name,
        title=f"{task.title}; {stream.seconds / 60:g} min, {options.content} content",
        unit="s from announcement to all objects",
        facts=facts,
        input={**stream.facts(), "content": options.content, "pictures": pictures},
        titles=_titles(task),
        samples=ran.samples,
        subject=OURS,
        reference=PEER,
        extra={
            "speed": _speed(ran, pictures),
            "one_thread": asdict(ran.alone),
            "sizes_bytes": ran.sizes,
            "quality": {
                contender: {name: each.as_json() for name, each in found.items()}
                for contender, found in made.items()
            },
            "report_timings_s": ran.timings,
        },
        tables=(
            _speed_table(ran, pictures),
            _quality_table(made),
            _joins_table(made),
            stage_table(ran.timings),
        ),
        notes=(f"the source has {pictures} pictures", *task.notes, *_NOTES),
    )


def settings_of(spec: EncodedPictures) -> list[str]:
    """FFmpeg's arguments for what a profile names."""
    rate = ["-fps_mode", "passthrough", "-force_key_frames", "source"]
    if spec.frame_rate is not None:
        rate = ["-r", str(spec.frame_rate)]
    own = [part for name, value in spec.options for part in (f"-{name}", value)]
    return [
        "-c:v", spec.encoder, *own, "-maxrate", str(spec.max_rate), "-bufsize",
        str(spec.buffer_size), "-pix_fmt", spec.pixel_format, "-g", str(spec.gop),
        "-keyint_min", str(spec.gop // 2), "-sc_threshold", "0", *rate,
    ]  # fmt: skip


def key_of(output: Output, number: int) -> str:
    return "main" if number == 0 else output.rendition


def _look(content: Content) -> FirstLook:
    return FirstLook(
        begin_s=0.0,
        wraps=True,
        streams=(),
        bytes_per_s=0.0,
        form=Form(video="h264", audio="aac", audio_rate=48000, audio_channels=2),
        pictures=PictureForm(width=content.width, height=content.height),
    )


def _titles(task: Task) -> dict[str, str]:
    return {
        OURS: f"vodray: webhook with profile {task.profile} to completed recording",
        PEER: "ffmpeg on presigned URLs with the same settings and all cores, upload",
    }


def _run(
    task: Task,
    outputs: Sequence[Output],
    streams: tuple[Stream, Stream],
    options: Options,
    kept: Path,
    say: Callable[[str], object],
) -> _Ran:
    recordings: list[Recording] = []
    sizes: dict[str, list[int]] = {OURS: [], PEER: []}
    wanted = {key_of(output, number) for number, output in enumerate(outputs)}
    files: dict[str, dict[str, Path]] = {}

    def settle() -> None:
        """Let nobody pay for what the one before has left to write or to delete."""
        shutil.rmtree(kept / "new", ignore_errors=True)
        world.take_results(kept / "new")
        contender, found = _move_results(kept)
        if found.keys() != wanted:
            raise WorkerLost(f"{contender} made {sorted(found)}, not {sorted(wanted)}")
        files[contender] = found
        sizes[contender].append(sum(path.stat().st_size for path in found.values()))
        world.empty_results()
        os.sync()
        time.sleep(_CALM_S)

    with running(options.folder, flame=options.flame) as world:
        place, short = (world.publish(each.folder, each.folder.name) for each in streams)
        movers = peers.Movers()
        try:
            peers.warm(movers)
            samples = take_turns(
                _contenders(task, outputs, world, place, movers, recordings),
                rounds=options.rounds,
                roots=[world.pid],
                between=settle,
                say=say,
                warm_up=_contenders(task, outputs, world, short, movers, recordings),
            )
            say("ffmpeg with one thread, one for each core")
            alone = _one_thread(task, outputs, place, movers)
            single = measure(alone, 1, (os.getpid(), world.pid))
        finally:
            movers.stop()
        reports = [world.report(recording) for recording in recordings]
    return _Ran(
        samples=tuple(samples),
        alone=single,
        timings=[report["timings_s"] for report in reports[1:]],
        offsets={name: list(at.values()) for name, at in reports[-1]["offsets"].items()},
        sizes={name: each[1:] for name, each in sizes.items()},
        files=files,
    )


def _contenders(
    task: Task,
    outputs: Sequence[Output],
    world: World,
    place: peers.Place,
    movers: peers.Movers,
    recordings: list[Recording],
) -> tuple[Contender, Contender]:
    """Ours, and FFmpeg."""
    titles = _titles(task)

    def ours(name: str) -> None:
        stream_id = f"{name}-{uuid4().hex[:8]}"
        recordings.append(world.record(stream_id, place.hls_path, task.profile))

    def peer(name: str) -> None:
        peers.encode_upload(place, movers, name, (), task.command(outputs, ()))

    return (
        Contender(name=OURS, title=titles[OURS], run=ours),
        Contender(name=PEER, title=titles[PEER], run=peer),
    )


def _one_thread(
    task: Task, outputs: Sequence[Output], place: peers.Place, movers: peers.Movers
) -> Contender:
    """As many as the service has workers: what shares a machine's caches needs more of its time.
    Together they encode what everyone else does: some minutes need more than others."""
    reading = ("-filter_complex_threads", "1", *_ONE_THREAD)
    writing = task.command(outputs, _ONE_THREAD)

    cores = psutil.cpu_count() or 1

    def one(name: str, number: int) -> None:
        share = (number, cores)
        peers.encode_upload(place, movers, f"{name}-{number}", reading, writing, share=share)

    def all_at_once(name: str) -> None:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(partial(one, name), range(cores)))

    return Contender(name="ffmpeg1", title="ffmpeg with one thread", run=all_at_once)


def _move_results(kept: Path) -> tuple[str, dict[str, Path]]:
    """From ``new``, where one contender's objects lie under their keys, to a folder of its own:
    ``{contender}-{round}....mp4`` is ``main``, what is in the folder beside it has its own name."""
    found = sorted((kept / "new").rglob("*.mp4"))
    if not found:
        raise WorkerLost("No MP4 came out")
    contender = found[0].relative_to(kept / "new").parts[0].partition("-")[0]
    shutil.rmtree(kept / contender, ignore_errors=True)
    (kept / contender).mkdir(parents=True)
    moved = {}
    for path in found:
        key = "main" if path.parent == kept / "new" else path.stem
        moved[key] = path.rename(kept / contender / f"{key}.mp4")
    return contender, moved


def _look_at(
    ran: _Ran, outputs: Sequence[Output], stream: Stream, say: Callable[[str], object]
) -> dict[str, dict[str, Quality]]:
    """By contender and output. Where ours has joins, FFmpeg's is looked at too."""
    made: dict[str, dict[str, Quality]] = {OURS: {}, PEER: {}}
    for number, output in enumerate(outputs):
        if output.pictures is None:
            continue
        key = key_of(output, number)
        samples = quality.read_samples(ran.files[OURS][key])
        joins_s = quality.join_times_s(samples, ran.offsets[output.rendition])
        for contender in (OURS, PEER):
            path = ran.files[contender][key]
            made[contender][key] = quality.compare(path, stream.playlist, output.pictures, joins_s)
            say(f"{contender} {key}: VMAF {made[contender][key].vmaf:.2f}")
    return made


# --- what is told ---------------------------------------------------------------------------------

_NOTES = (
    "wall time and CPU include reading the segments from S3 and writing the MP4s to it, of both; "
    "vodray's also verifying, HLS playlists, the poster and the catalogue",
    "CPU in the first table is everybody's, the waiting service's too while FFmpeg works; below, "
    "'encoders' are vodray's workers (with transfers, decoding, verifying) and the process ffmpeg, "
    "'all' adds vodray's other processes, which serve any number of streams",
    "vodray encodes with FFmpeg 8 and x264 of PyAV, the peer is FFmpeg 9 with its own x264",
    "VMAF is FFmpeg's default model (vmaf_v0.6.1) against the source as it arrives, which is "
    "encoded itself; made content is not footage: compare contenders, not contents",
    "the decoder's buffer: ITU-T H.264 C.1.1 with the profile's max_rate and buffer, 90 % full at "
    "the begin; below 0 a player that gets no more than max_rate stalls",
)


def _encoders_s(sample: Sample) -> float:
    kind = "worker" if sample.contender == OURS else "ffmpeg"
    return sum(usage.cpu_s for usage in sample.usage if usage.kind == kind)


def _all_s(sample: Sample) -> float:
    """Without what the bench itself needs, and without the servers of S3 and PostgreSQL; the
    service waits while FFmpeg works, and what that costs is none of FFmpeg's."""
    if sample.contender != OURS:
        return _encoders_s(sample)
    kinds = [usage for usage in sample.usage if not usage.is_server and usage.kind != "bench"]
    return sum(usage.cpu_s for usage in kinds)


def _speed(ran: _Ran, pictures: int) -> dict[str, Any]:
    """``pictures`` of the source. CPU of the processes that encode, and of all that vodray has."""
    values: dict[str, Callable[[Sample], float]] = {
        "pictures_per_s": lambda sample: pictures / sample.wall_s,
        "encoders_cpu_ms_per_picture": lambda sample: 1000 * _encoders_s(sample) / pictures,
        "all_cpu_ms_per_picture": lambda sample: 1000 * _all_s(sample) / pictures,
    }
    return {
        **{
            key: {name: asdict(spread(ran.samples, name, value)) for name in (OURS, PEER)}
            for key, value in values.items()
        },
        "one_thread_cpu_ms_per_picture": 1000 * _encoders_s(ran.alone) / pictures,
        "encoders_cpu_ratio": asdict(ratios(ran.samples, OURS, PEER, _encoders_s)),
        "all_cpu_ratio": asdict(ratios(ran.samples, OURS, PEER, _all_s)),
    }


def _speed_table(ran: _Ran, pictures: int) -> Figures:
    def row(of: str, *compared: str) -> tuple[str, ...]:
        return (
            of,
            f"{spread(ran.samples, of, lambda s: pictures / s.wall_s):.1f}",
            str(spread(ran.samples, of, lambda s: 1000 * _encoders_s(s) / pictures)),
            str(spread(ran.samples, of, lambda s: 1000 * _all_s(s) / pictures)),
            *compared,
        )

    alone_ms = f"{1000 * _encoders_s(ran.alone) / pictures:.2f}"
    compared = (f"{ratios(ran.samples, OURS, PEER, each):.3f}" for each in (_encoders_s, _all_s))
    return Figures(
        title="pictures of the source a second, CPU ms for each",
        heads=("contender", "a second", "encoders", "all", "vodray's encoders", "vodray's all"),
        rows=(
            row(OURS, "", ""),
            row(PEER, *(f"{ratio} x" for ratio in compared)),
            ("ffmpeg, one thread, one for each core", "", alone_ms, alone_ms, "", ""),
        ),
    )


def _quality_table(made: Mapping[str, Mapping[str, Quality]]) -> Figures:
    def row(contender: str, output: str, found: Quality) -> tuple[str, ...]:
        buffer = found.buffer
        return (
            f"{contender} {output}",
            f"{found.decoded} of {found.pictures}",
            f"{found.size_bytes / 1e6:.2f}",
            f"{found.vmaf:.2f}",
            f"{found.vmaf_p5:.2f}",
            f"{found.window_p5:.2f}",
            f"{100 * buffer.lowest:.1f} % at {buffer.lowest_s:.1f} s",
            f"{buffer.underflows} ({buffer.late} pictures, {buffer.late_s:.2f} s)",
        )

    return Figures(
        title="what came out in the last round",
        heads=("contender, output", "decoded", "MB", "VMAF", "5th percentile", "of 2 s windows",
               "buffer's lowest", "underflows"),
        rows=tuple(
            row(contender, output, made[contender][output])
            for output in made[OURS]
            for contender in (OURS, PEER)
        ),
    )  # fmt: skip


def _joins_table(made: Mapping[str, Mapping[str, Quality]]) -> Figures:
    rows = []
    for output, ours in made[OURS].items():
        theirs = {window.at_s: window.vmaf for window in made[PEER][output].joins}
        worst = ours.worst_join
        if worst is None:
            continue
        against = min(window.vmaf - theirs[window.at_s] for window in ours.joins)
        rows.append(
            (
                output,
                str(len(ours.joins)),
                f"{worst.vmaf:.2f} at {worst.at_s:.1f} s",
                f"{theirs[worst.at_s]:.2f}",
                f"{against:+.2f}",
                f"{ours.vmaf_p5:.2f}",
            )
        )
    return Figures(
        title="VMAF of the 2 s around where chunks are joined",
        heads=("output", "joins", "worst", "ffmpeg there", "most below ffmpeg", "5th percentile"),
        rows=tuple(rows),
    )
