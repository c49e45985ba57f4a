"""Where the time of vodray goes, as its reports tell it."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.result import Figures
from bench.run import Spread

_OF_WORKERS = {
    "download": "source read, and waited for",
    "decrypt": "source decrypted",
    "waiting": "done reading, while the worker's other chunk is worked on",
    "demux": "source taken apart, times moved",
    "mux": "fragments written",
    "decode": "pictures decoded",
    "scale": "pictures scaled",
    "encode": "pictures encoded",
    "sound": "sound encoded",
    "index": "fragments read back, borders decoded, the rest of a chunk's work",
    "tiles": "the storyboard's pictures",
    "upload": "chunks sent, and waited for",
}
_OF_ONE = {
    "stitch": "all chunks put into order, the head written",
    "verify_and_complete": "head sent, the object's packets compared, the upload completed",
    "playlists_and_poster": "playlists, poster and storyboard",
    "total": "from the first look at the source to the finished recording",
}


def stage_table(timings: Sequence[Mapping[str, Any]]) -> Figures:
    """``timings``: ``timings_s`` of the report of each round."""
    rows = [
        (f"workers: {name}", what, values)
        for name, what in _OF_WORKERS.items()
        if (values := [each["in_workers"][name] for each in timings if name in each["in_workers"]])
    ]
    rows += [
        (f"supervisor: {name}", what, values)
        for name, what in _OF_ONE.items()
        if (values := [each[name] for each in timings if name in each])
    ]
    return Figures(
        title="where vodray's time goes: seconds by the clock, those of all workers added up",
        heads=("stage", "", "s"),
        rows=tuple((name, what, str(Spread.of(values))) for name, what, values in rows),
    )
