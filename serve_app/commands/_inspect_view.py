"""The report of ``inspect`` for people: facts, then what is wrong, then what would become of it.

All of it may come from outside: nothing is read as markup, control characters are shown escaped.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from serve_app.commands._api import clock, size
from serve_app.commands._input import ranges

Report = dict[str, Any]

_WIDTH = 140
_MAX_ROWS = 40
_CONTAINERS = {
    "TS": "MPEG-TS",
    "MP4": "fMP4",
    "AAC": "packed AAC",
    "MPEG_AUDIO": "packed MPEG audio",
    "AC3": "packed AC-3",
    "EAC3": "packed E-AC-3",
}
_EVENTS = {
    "jump": "the clock jumps ahead by {seconds:.3f} s",
    "reset": "the clock is set back by {back:.3f} s",
    "pause": "nothing for {seconds:.3f} s: kept",
    "overlap": "begins {back:.3f} s before the end of the one before: kept",
    "wrap": "the 33-bit clock goes round: unwrapped",
    "form": "other parameters from here on: a further sample entry, an HLS discontinuity",
}
_VERDICTS = {
    "completed": ("would be completed", "bold green"),
    "completed_with_gaps": ("would be completed, with gaps", "bold yellow"),
    "failed": ("would fail", "bold red"),
}


def visible(value: object) -> Text:
    """As text, on one line, with what is not printable escaped."""
    text = "" if value is None else str(value)
    return Text(
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def show(input_ref: str, found: Report, *, all_segments: bool) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDTH
    if found["master"]:
        _show_master(console, found["master"])
    for playlist in found["playlists"]:
        _show_facts(console, _title(playlist), _playlist_facts(playlist))
    _show_facts(console, "Timeline", _timeline_facts(found))
    _show_table(console, "Gaps", _GAPS, map(_gap_row, found["gaps"]))
    _show_table(console, "What is done about it", _REMEDIES, map(_remedy_row, found["remedies"]))
    _show_segments(console, found["segments"], all_segments=all_segments)
    _show_table(console, "Chunks", _CHUNKS, map(_chunk_row, found["chunks"]))
    words, style = _VERDICTS[found["verdict"]["outcome"]]
    console.print()
    console.print(visible(input_ref), Text(words, style=style), Text(_result(found)))


def _result(found: Report) -> str:
    verdict, result = found["verdict"], found["result"]
    if result is None or verdict["reason"]:
        return ""
    missing = f", {verdict['missing_s']:.3f} s missing" if verdict["gaps"] else ""
    filled = f", {verdict['filled_s']:.3f} s filled" if verdict["filled_s"] else ""
    return f"({result['duration_s']:.3f} s, {size(result['size_bytes'])}{missing}{filled})"


# --- what is there -----------------------------------------------------------------------------


def _show_master(console: Console, master: Report) -> None:
    variants = (
        (
            "recorded" if v["chosen"] else "",
            v["uri"],
            f"{v['width']}x{v['height']}" if v["height"] else "",
            f"{v['bandwidth'] // 1000} kbit/s" if v["bandwidth"] else "",
            v["codecs"],
            v["problem"],
        )
        for v in master["variants"]
    )
    columns = ("", "variant", "size", "bandwidth", "codecs", "problem")
    _show_table(console, f"Master playlist: {master['why']}", columns, variants)
    sounds = (
        (
            "kept" if s["kept"] else "",
            s["name"],
            s["language"],
            s["uri"] or "inside the variant",
            "default" if s["default"] else "",
        )
        for s in master["sounds"]
    )
    _show_table(console, "Sounds", ("", "name", "language", "playlist", ""), sounds)
    if master["dropped"]:
        _show_facts(console, "", [("not recorded", ", ".join(master["dropped"]))])


def _title(playlist: Report) -> str:
    number = playlist["playlist"]
    if not number:
        return "Playlist"
    named = " ".join(filter(None, (playlist["name"], playlist["language"])))
    return f"Sound {number}: {named}" if named else f"Sound {number}"


def _playlist_facts(playlist: Report) -> Iterator[tuple[str, str]]:
    if playlist.get("problem"):
        yield "problem", playlist["problem"]
    if playlist["ended"] is None:
        return
    segments = playlist["segments"]
    end = "ended" if playlist["ended"] else "no ENDLIST, it may still grow"
    yield "address", f"{playlist['ref']} ({end})"
    yield "segments", _segment_facts(segments, playlist["target_duration_s"])
    yield "duration", f"{clock(playlist['duration_s'])} ({playlist['duration_s']:.3f} s) by EXTINF"
    yield "container", _containers(playlist)
    for stream in playlist["streams"]:
        yield stream["kind"], _stream(stream, sum(playlist["containers"].values()))
    if playlist["program_date_time"]:
        dates = playlist["program_date_time"]
        yield "wall clock", f"{dates['from']} to {dates['to']}"
    if playlist["discontinuities"]:
        yield "discontinuities", str(playlist["discontinuities"])
    yield "encryption", _encryption(playlist["encryption"])
    if playlist.get("clock_shift_s"):
        yield "clock", f"its own: moved by {playlist['clock_shift_s']:.3f} s"


def _segment_facts(segments: Report, target_s: float) -> str:
    if not segments["count"]:
        return "none"
    lengths = f"{segments['min_s']:.3f} / {segments['median_s']:.3f} / {segments['max_s']:.3f} s"
    return (
        f"{segments['count']} ({segments['first']}-{segments['last']}), {size(segments['bytes'])}, "
        f"shortest / median / longest {lengths}, target {target_s:g} s"
    )


def _containers(playlist: Report) -> str:
    counts = playlist["containers"]
    if len(counts) == 1:
        return _CONTAINERS[next(iter(counts))]
    return ", ".join(f"{_CONTAINERS[kind]} ({count})" for kind, count in counts.items()) or "-"


def _stream(stream: Report, segments: int) -> str:
    words = [stream["codec"], stream["profile"]]
    if stream["kind"] == "video":
        words.append(f"{stream['width']}x{stream['height']}")
        words.append(f"{stream['frame_rate']:g} frames/s" if stream["frame_rate"] else "")
    else:
        words += [f"{stream['sample_rate']} Hz", f"{stream['channels']} channels"]
    if stream["segments"] != segments:
        first = f"the first is {stream['first_segment']}"
        words.append(f"(in {stream['segments']} of the {segments} segments read, {first})")
    return " ".join(filter(None, words))


def _encryption(encryption: Report) -> str:
    words = list(encryption["unsupported"])
    if encryption["segments"]:
        ivs = {"sequence": "the media sequence number", "explicit": "named in EXT-X-KEY"}
        iv = " and ".join(ivs[kind] for kind in encryption["iv"])
        counts = f"{encryption['segments']} segments, {encryption['keys']} keys"
        words.append(f"{encryption['method']}, {counts}, IV {iv}")
    return "; ".join(words) or "none"


# --- what is wrong -----------------------------------------------------------------------------


def _timeline_facts(found: Report) -> Iterator[tuple[str, str]]:
    timeline = found["timeline"]
    if timeline["duration_s"] is not None:
        yield "duration", f"{clock(timeline['duration_s'])} ({timeline['duration_s']:.3f} s)"
    yield from map(_sound_fact, timeline["sound"])
    extinf = timeline["extinf"]
    if extinf["wrong"]:
        worst = extinf["worst"]
        yield (
            "EXTINF",
            f"wrong by more than a frame for {extinf['wrong']} segments; worst: segment "
            f"{worst['segment']} says {worst['claimed_s']:.3f} s, it holds {worst['real_s']:.3f} s",
        )
    for event in timeline["events"][:_MAX_ROWS]:
        yield _place(event), _event(event)
    if len(timeline["events"]) > _MAX_ROWS:
        yield "", f"and {len(timeline['events']) - _MAX_ROWS} more: see --json"
    for kind in ("dropped_streams", "undecodable_streams"):
        if found[kind]:
            yield kind.replace("_", " "), ", ".join(found[kind])


def _sound_fact(sound: Report) -> tuple[str, str]:
    label = f"sound {sound['playlist']}" if sound["playlist"] else "sound"
    later = (
        f"begins {_later(sound['begins_later_s'])} pictures, ends {_later(sound['ends_later_s'])}"
    )
    words = [f"{later} them, drift {sound['drift_s']:+.3f} s"]
    if sound["per_segment_min_s"] is not None:
        low, high = sound["per_segment_min_s"], sound["per_segment_max_s"]
        words.append(f"{low:+.3f} to {high:+.3f} s where segments begin")
    return label, "; ".join(words)


def _later(seconds: float) -> str:
    return f"{abs(seconds):.3f} s {'after' if seconds >= 0 else 'before'}"


def _place(event: Report) -> str:
    sound = f"sound {event['playlist']} " if event["playlist"] else ""
    return f"{sound}segment {event['segment']}"


def _event(event: Report) -> str:
    words = _EVENTS[event["kind"]].format(seconds=event["seconds"], back=-event["seconds"])
    if event["kind"] in ("jump", "reset"):
        words += ", marked" if event["marked"] else ", not marked"
        words += (
            ": what is before it is lost" if event["after_loss"] else ": the timeline closes up"
        )
    return words if event["at_s"] is None else f"{words} (at {event['at_s']:.3f} s)"


_GAPS = ("at", "missing", "wall clock", "segments", "reason")


def _gap_row(gap: Report) -> Sequence[object]:
    segments = ranges(gap["segments"])
    times = f"{gap['start_s']:.3f} s", f"{gap['duration_s']:.3f} s"
    return (*times, gap["wall_clock"], segments, gap["reason"])


_REMEDIES = ("remedy", "playlist", "segments")


def _remedy_row(noted: Report) -> Sequence[object]:
    return noted["remedy"], noted["playlist"], ranges(noted["segments"])


_SEGMENTS = ("segment", "address", "bytes", "EXTINF", "holds", "clock", "key", "action", "problems")


def _show_segments(console: Console, segments: Sequence[Report], *, all_segments: bool) -> None:
    shown = [s for s in segments if all_segments or s["problems"]]
    title = "Segments" if all_segments else "Segments with a problem"
    limit = len(shown) if all_segments else _MAX_ROWS
    _show_table(console, title, _SEGMENTS, map(_segment_row, shown), limit=limit)


def _segment_row(segment: Report) -> Sequence[object]:
    number = f"{segment['playlist']}:{segment['sequence']}"
    return (
        number if segment["playlist"] else segment["sequence"],
        segment["uri"],
        segment["bytes"],
        f"{segment['claimed_s']:.3f}",
        "" if segment["real_s"] is None else f"{segment['real_s']:.3f}",
        "" if segment["clock_s"] is None else f"{segment['clock_s']:.3f}",
        {True: "yes", False: "no", None: ""}[segment["starts_with_keyframe"]],
        ", ".join(segment["remedies"]) or segment["action"],
        "; ".join(segment["problems"]),
    )


_CHUNKS = ("chunk", "segments", "from", "seconds", "bytes in", "bytes out", "packets", "lost")


def _chunk_row(chunk: Report) -> Sequence[object]:
    return (
        chunk["chunk"],
        ranges(chunk["segments"]),
        clock(chunk["start_s"]),
        f"{chunk['duration_s']:.3f}",
        chunk["bytes_in"],
        chunk["bytes_out"],
        chunk["packets"],
        chunk["segments_lost"] or "",
    )


# --- form --------------------------------------------------------------------------------------


def _show_facts(console: Console, title: str, facts: Iterable[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    for name, value in facts:
        grid.add_row(visible(name), visible(value))
    if grid.row_count:
        if title:
            console.print()
            console.print(visible(title), style="bold")
        console.print(grid)


def _show_table(
    console: Console,
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    limit: int = _MAX_ROWS,
) -> None:
    """The first ``limit`` rows; nothing where there are none."""
    table = Table(box=None, header_style="dim", padding=(0, 1), pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    left = iter(rows)
    for row in islice(left, limit):
        table.add_row(*map(visible, row))
    if table.row_count:
        console.print()
        console.print(visible(title), style="bold")
        console.print(table)
        more = sum(1 for _ in left)
        if more:
            console.print(f"and {more} more: see --json")
