"""Everything that ``convert`` does with a stream but storing it: the same code, so that both come
to the same.

Media is held for a few chunks at a time; what stays of each is its sample index.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from pipeline import plan, steps
from pipeline.assemble import Assembly, arrange, assemble, check
from pipeline.begin import Search, Seen, align, look_job, missing_tail
from pipeline.errors import (
    MediaInvalid,
    PlaylistInvalid,
    SourceError,
    SourceUnavailable,
    VodrayError,
)
from pipeline.filling import are_enough, plan_fillers
from pipeline.follow import locate
from pipeline.load import Loaded, Loader, references, source_limits
from pipeline.media.limits import MediaLimits
from pipeline.media.probe import StreamSeen, probe
from pipeline.media.remux import make_input
from pipeline.media.segments import has_own_init
from pipeline.media.sniff import Kind
from pipeline.model import ChunkRecord, ChunkSpec, Segment, Sound, Stretch
from pipeline.settings import Settings
from pipeline.source import Presentation, SoundSource, Source
from pipeline.uris import shown_uri

_TRANSFERS = 16
_MAX_CHUNKS_AT_ONCE = 4

# How many segments are done, and how many there are.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSeen:
    """What one segment turned out to be. ``kind``: None if it could not be had, and ``problem``
    says why; ``streams``: read by itself, and ``unreadable`` why that was not possible."""

    playlist: int
    segment: Segment
    size_bytes: int
    kind: Kind | None
    problem: str
    streams: tuple[StreamSeen, ...] = ()
    unreadable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSeen:
    spec: ChunkSpec
    record: ChunkRecord
    segments: tuple[SegmentSeen, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """``sounds``: aligned; ``problem``: why there would be no recording, and then what was found
    until then."""

    presentation: Presentation
    sounds: tuple[Sound, ...] = ()
    chunks: tuple[ChunkSeen, ...] = ()
    assembly: Assembly | None = None
    checks: Mapping[str, Any] | None = None
    problem: str = ""


def dry_run(presentation: Presentation, settings: Settings, on_progress: OnProgress) -> DryRun:
    """Read and make all of it as it stands."""
    with ThreadPoolExecutor(_TRANSFERS) as transfers:
        run = _Run(presentation, settings, transfers, on_progress)
        try:
            main = run.first(locate(presentation.playlist.segments, presentation.source))
        except SourceError as error:
            return DryRun(presentation=presentation, problem=str(error))
        heard = [(found.sound, run.first_of_sound(found)) for found in presentation.sounds]
        main, sounds = align(main, heard)
        specs = _plan(presentation, main, sounds, settings)
        chunks = run.make(specs)
    made = DryRun(presentation=presentation, sounds=tuple(sounds), chunks=chunks)
    return _assembled(made, settings)


def _plan(
    presentation: Presentation, main: Seen, sounds: Sequence[Sound], settings: Settings
) -> tuple[ChunkSpec, ...]:
    listed = [locate(presentation.playlist.segments, presentation.source)]
    for found in presentation.sounds:
        segments = found.playlist.segments if found.playlist else ()
        own = locate(segments, found.source)
        known_s, end_s = (sum(s.duration_s for s in segments) for segments in (own, listed[0]))
        target_s = presentation.playlist.target_duration_s
        listed.append([*own, *missing_tail(known_s, end_s, target_s, found.problem)])
    form = replace(main.look.form, in_band=settings.fills_gaps)
    state = plan.begin(main.look.anchor_s, main.look.bytes_per_s, sounds, form)
    return plan.extend(state, listed, ended=True)[1]


def _assembled(run: DryRun, settings: Settings) -> DryRun:
    records = [chunk.record for chunk in run.chunks]
    try:
        arrangement = arrange(records, keep_time=settings.fills_gaps)
        planned = plan_fillers(arrangement.holes, len(records))
        fillers = [steps.fill_chunk(index, blanks)[0].record() for index, blanks in planned]
        if not are_enough(arrangement.placed, arrangement.holes, fillers):
            arrangement, fillers = arrange(records), []
        assembly = assemble(arrangement, fillers=fillers)
        run = replace(run, assembly=assembly)
        return replace(run, checks=check(assembly, [*records, *fillers]))
    except VodrayError as error:
        return replace(run, problem=str(error))


def first_seen(
    segments: Sequence[Segment], source: Source, settings: Settings, transfers: Executor
) -> Seen:
    """As ``actors.first_look`` does it. Raises ``SourceError``."""
    if not segments:
        raise PlaylistInvalid(f"{shown_uri(source.ref)} lists no segments")
    tools = steps.Tools(threads=transfers, gate=nullcontext())
    search = Search(needs_pictures=True)
    for segment in search.among(segments):
        try:
            search.found(segment, steps.look(look_job(segment, source, settings), tools))
        except (MediaInvalid, SourceUnavailable) as error:
            search.failed(segment, error)
    return search.result(shown_uri(source.ref))


class _Run:
    def __init__(
        self,
        presentation: Presentation,
        settings: Settings,
        transfers: Executor,
        on_progress: OnProgress,
    ) -> None:
        self._source, self._transfers = presentation.source, transfers
        self._settings = settings
        self._limits, self._media_limits = source_limits(settings), settings.media_limits
        self._on_progress = on_progress

    def first(self, segments: Sequence[Segment], source: Source | None = None) -> Seen:
        return first_seen(segments, source or self._source, self._settings, self._transfers)

    def first_of_sound(self, found: SoundSource) -> Seen | None:
        segments = found.playlist.segments if found.playlist else ()
        try:
            return self.first(locate(segments, found.source), found.source)
        except SourceError:
            return None

    def make(self, specs: Sequence[ChunkSpec]) -> tuple[ChunkSeen, ...]:
        """A few at a time; in order."""
        total = sum(len(stretch.segments) for spec in specs for stretch in _stretches(spec))
        done = 0
        made: list[ChunkSeen] = []
        workers = ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_CHUNKS_AT_ONCE))
        try:
            for chunk in workers.map(self._make, specs):
                made.append(chunk)
                done += len(chunk.segments)
                self._on_progress(done, total)
        finally:
            # Whoever interrupts this waits for a chunk at most.
            workers.shutdown(cancel_futures=True)
        return tuple(made)

    def _make(self, spec: ChunkSpec) -> ChunkSeen:
        urls = {ref: self._source.url(ref) for ref in references(spec.every_segment())}
        loader = Loader(urls, self._limits, self._transfers)
        loaded = steps.load_chunk(spec, loader)
        (fragments,) = steps.make_fragments(
            spec,
            loaded,
            loader,
            limits=self._media_limits,
            fills_gaps=self._settings.fills_gaps,
        )
        return ChunkSeen(
            spec=spec,
            record=fragments.record(),
            segments=tuple(
                seen
                for playlist, (stretch, own) in enumerate(
                    zip(_stretches(spec), loaded, strict=True)
                )
                for seen in self._probe_all(playlist, stretch, own, spec.anchor_s)
            ),
        )

    def _probe_all(
        self, playlist: int, stretch: Stretch, loaded: Sequence[Loaded], anchor_s: int
    ) -> list[SegmentSeen]:
        near_s = stretch.start_s
        found = []
        for entry in loaded:
            seen = SegmentSeen(
                playlist=playlist,
                segment=entry.segment,
                size_bytes=entry.bytes_in,
                kind=entry.media.kind if entry.media else None,
                problem=entry.problem,
            )
            times = {"anchor_s": anchor_s, "near_s": near_s, "shift_s": stretch.shift_s}
            found.append(_probed(seen, entry, self._media_limits, times))
            near_s += entry.segment.duration_s
        return found


def _stretches(spec: ChunkSpec) -> tuple[Stretch, ...]:
    return (spec.main, *spec.audio)


def _probed(
    seen: SegmentSeen, entry: Loaded, limits: MediaLimits, times: Mapping[str, float]
) -> SegmentSeen:
    if entry.media is None:
        return seen
    init = b"" if has_own_init(entry.media.data) else entry.init
    try:
        return replace(seen, streams=probe(make_input([entry.media], init, limits=limits, **times)))
    except MediaInvalid as error:
        return replace(seen, unreadable=error.message)
