"""Why media is missing, told apart into few kinds: reasons are sentences for people, which name
addresses and numbers.
"""

# In this order: the first one of which something stands in the reason.
_SAID = {
    "marked": ("EXT-X-GAP",),
    "window": ("left the live window",),
    "clock": ("clock jumps", "clock is set back", "clock of its"),
    "worker": ("workers died",),
    "store": ("object store", "Object store", "cannot be written", "could not be written"),
    "key": ("decrypted,", "its key ", "encrypt"),
    "limit": ("larger than the limit", "more than the", "MAX_"),
    "missing": ("is not there (", "is gone", "playlist ends"),
    "unavailable": (
        *("did not come in time", "broke off before its end", "its server answers"),
        "cannot be read: ",
    ),
    "forbidden": (
        "redirects (",
        "is refused by its server",
        "may be read",
        "may not be read",
        "are read",
        "no key of",
    ),
    "codec": ("cannot be decoded", "no encoder", "subtitles"),
}
_DAMAGED = "damaged"
GAP_KINDS = (*_SAID, _DAMAGED)


def gap_kind(reason: str) -> str:
    """One of ``GAP_KINDS``."""
    for kind, said in _SAID.items():
        if any(words in reason for words in said):
            return kind
    return _DAMAGED
