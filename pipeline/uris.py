"""URIs as people may see them, and without what is another one at each reload."""

import re

_SHOWN = 200
_USER = re.compile(r"//[^/?#]*@")


def unsigned(uri: str) -> str:
    """Without what may be a signature: the query, or what stands behind a ``;`` in the last part
    of the path."""
    folder, slash, name = uri.partition("#")[0].partition("?")[0].rpartition("/")
    return folder + slash + name.partition(";")[0]


def shown_uri(uri: str) -> str:
    """As it is written, but for what may be secret: user, signature, a key in a ``data:``."""
    if uri.lower().startswith("data:"):
        return "data:..."
    place = unsigned(uri)
    more = uri[len(place) : len(place) + 1]
    return _USER.sub("//", place)[:_SHOWN] + (f"{more}..." if more else "")
