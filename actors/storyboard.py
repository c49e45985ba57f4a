"""The storyboard of a recording: sheets of tiles, full ones made while the stream goes on, and the
WebVTT that names them.

Nothing here costs the recording anything: what cannot be made is absent, and the report says why.
"""

import asyncio
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import groupby
from typing import Any
from uuid import UUID

import structlog

from actors.fair_queue import Urgency
from actors.submit import Submit, store_limits, submit_patiently
from pipeline.errors import VodrayError
from pipeline.jobs import Address, Job, JoinJob, SheetJob, StripTiles
from pipeline.model import ByteRange, ChunkRecord, Part
from pipeline.staging import URL_LIFETIME_S, storyboard_prefix, strip_key
from pipeline.stores.objects import ObjectStore
from pipeline.storyboard import (
    Growing,
    Tile,
    cues,
    left_out,
    read_tiles,
    render,
    select,
    sheet_name,
    sheet_of,
    sheet_shape,
    sheets,
)

_VTT_TYPE = "text/vtt"

log = structlog.get_logger()


class Storyboard:
    """Of one recording. Sheets are always the same, whoever makes them and when."""

    def __init__(
        self, recording_id: UUID, *, results: ObjectStore, bucket: str, submit: Submit
    ) -> None:
        self._id, self._results, self._bucket = recording_id, results, bucket
        self._submit = submit
        self._growing = Growing()
        self._begun = 0
        self._staging = asyncio.Lock()

    # --- while the stream goes on ---

    def add(self, chunk: int, records: Sequence[ChunkRecord]) -> None:
        """The ledger has them: all of a chunk."""
        self._growing.add(chunk, records)

    async def stage(self) -> None:
        """Make the sheets that are full by now. One that fails is left to ``publish``."""
        async with self._staging:
            for tiles in self._growing.full_sheets()[self._begun :]:
                key = self._staged_key(self._begun)
                self._begun += 1
                try:
                    await self._stage(tiles, key)
                except Exception as error:  # noqa: BLE001 - see _warn
                    self._warn("sheet_failed", error)

    async def _stage(self, tiles: Sequence[Tile], key: str) -> None:
        if key not in await asyncio.to_thread(self._list, key):
            job = await asyncio.to_thread(self._sheet_job, tiles, key)
            await self._submit(job, str(self._id), Urgency.LIVE)

    # --- at its end ---

    async def publish(
        self,
        name: str,
        records: Sequence[ChunkRecord],
        shift_s: Mapping[tuple[int, int], Fraction],
        length_s: float,
    ) -> dict[str, Any]:
        """For the report. ``name``: the recording's; ``records``: all chunks of the main output in
        order; ``shift_s``, ``length_s``: see ``pipeline.storyboard.cues``."""
        try:
            told = await self._publish(name, records, shift_s, length_s)
        except Exception as error:  # noqa: BLE001 - see _warn
            self._warn("storyboard_failed", error)
            told = {"absent": str(error) or type(error).__name__}
        if "absent" in told:
            await self._remove(name)
        if missing := left_out(records):
            log.warning("tiles_left_out", recording=str(self._id), count=len(missing), **missing[0])
            told["left_out"] = missing
        return told

    async def _publish(
        self,
        name: str,
        records: Sequence[ChunkRecord],
        shift_s: Mapping[tuple[int, int], Fraction],
        length_s: float,
    ) -> dict[str, Any]:
        tiles = select([tile for record in records for tile in read_tiles(record)])
        there = await asyncio.to_thread(self._listed)
        kept = [tile if self._is_kept(n, tile, there) else None for n, tile in enumerate(tiles)]
        shown = cues(kept, shift_s, length_s)
        if not shown:
            is_empty = not tiles and not left_out(records)
            return {"absent": "no pictures in it" if is_empty else "none of its tiles are there"}
        jobs: list[Callable[[], Job]] = []
        for number in sorted({sheet_of(cue.number) for cue in shown}):
            key = f"{name}/{sheet_name(number)}"
            if (staged := self._staged_key(number)) in there:
                jobs.append(partial(self._copy_job, staged, key))
            else:
                jobs.append(partial(self._sheet_job, sheets(kept)[number], key))
        size = sum(await self._make(jobs))
        key = f"{name}/storyboard.vtt"
        text = render(shown, tiles[0].size).encode()
        await asyncio.to_thread(self._results.put, self._bucket, key, text, _VTT_TYPE)
        path = f"{self._bucket}/{key}"
        return {"file_path": path, "tiles": len(shown), "sheets": len(jobs), "bytes": size}

    async def _make(self, jobs: Iterable[Callable[[], Job]]) -> list[int]:
        """Their sizes in bytes. Nothing is under way any more when it raises."""
        submit = partial(submit_patiently, self._submit)
        answers = await asyncio.gather(
            *(submit(job, str(self._id), Urgency.FINISH) for job in jobs), return_exceptions=True
        )
        sizes: list[int] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            assert isinstance(answer, Part | int)
            sizes.append(answer.size_bytes if isinstance(answer, Part) else answer)
        return sizes

    def _is_kept(self, number: int, tile: Tile, there: Container[str]) -> bool:
        """A recording may go on when what was staged is gone."""
        staged = self._staged_key(sheet_of(number))
        return staged in there or strip_key(self._id, tile.chunk) in there

    async def _remove(self, name: str) -> None:
        """What is there of it, also from before the stream came back."""
        try:
            listed = await asyncio.to_thread(self._list, f"{name}/storyboard")
            keys = [key for key in listed if key.endswith((".vtt", ".jpg"))]
            await asyncio.to_thread(self._results.delete, self._bucket, keys)
        except Exception as error:  # noqa: BLE001 - see _warn
            self._warn("storyboard_not_removed", error)

    def _warn(self, event: str, error: Exception) -> None:
        """Whatever it is, no recording is lost for it."""
        unexpected = None if isinstance(error, VodrayError) else error
        log.warning(event, recording=str(self._id), error=str(error), exc_info=unexpected)

    def _listed(self) -> set[str]:
        """Strips and sheets that are staged."""
        return self._list(storyboard_prefix(self._id))

    def _list(self, prefix: str) -> set[str]:
        return {found.key for found in self._results.list(self._bucket, prefix)}

    def _staged_key(self, sheet: int) -> str:
        return f"{storyboard_prefix(self._id)}{sheet_name(sheet)}"

    def _sheet_job(self, tiles: Sequence[Tile | None], key: str) -> SheetJob:
        """``tiles``: those of the sheet; a place without one stays black."""
        placed = [(place, tile) for place, tile in enumerate(tiles) if tile is not None]
        by_chunk = groupby(placed, key=lambda entry: entry[1].chunk)
        columns, rows = sheet_shape(len(tiles))
        return SheetJob(
            strips=tuple(self._strip(chunk, list(own)) for chunk, own in by_chunk),
            columns=columns,
            rows=rows,
            size=placed[0][1].size,
            sheet_url=self._put_url(key),
            limits=store_limits(),
        )

    def _strip(self, chunk: int, placed: Sequence[tuple[int, Tile]]) -> StripTiles:
        return StripTiles(
            url=self._get_url(strip_key(self._id, chunk)),
            places=tuple(
                (place, ByteRange(offset=tile.offset, length=tile.length)) for place, tile in placed
            ),
        )

    def _copy_job(self, staged: str, key: str) -> JoinJob:
        return JoinJob(
            number=0,
            head=b"",
            staged=(Address(url=self._get_url(staged)),),
            padding=0,
            part_url=self._put_url(key),
            limits=store_limits(),
        )

    def _get_url(self, key: str) -> str:
        return self._results.presign_get(self._bucket, key, expires_s=URL_LIFETIME_S)

    def _put_url(self, key: str) -> str:
        return self._results.presign_put(self._bucket, key, expires_s=URL_LIFETIME_S)
