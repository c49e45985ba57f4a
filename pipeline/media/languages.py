"""Languages of sounds: from tags of playlists (RFC 5646) to what MP4 holds (ISO 639-2)."""

import struct

# ISO 639-1 and 639-2/T; a tag of three letters stands for itself.
_CODES = {
    "af": "afr", "am": "amh", "ar": "ara", "az": "aze", "be": "bel", "bg": "bul", "bn": "ben",
    "bs": "bos", "ca": "cat", "cs": "ces", "cy": "cym", "da": "dan", "de": "deu", "el": "ell",
    "en": "eng", "es": "spa", "et": "est", "eu": "eus", "fa": "fas", "fi": "fin", "fr": "fra",
    "ga": "gle", "gl": "glg", "gu": "guj", "he": "heb", "hi": "hin", "hr": "hrv", "hu": "hun",
    "hy": "hye", "id": "ind", "is": "isl", "it": "ita", "ja": "jpn", "ka": "kat", "kk": "kaz",
    "km": "khm", "kn": "kan", "ko": "kor", "ky": "kir", "lb": "ltz", "lo": "lao", "lt": "lit",
    "lv": "lav", "mk": "mkd", "ml": "mal", "mn": "mon", "mr": "mar", "ms": "msa", "mt": "mlt",
    "my": "mya", "nb": "nob", "ne": "nep", "nl": "nld", "nn": "nno", "no": "nor", "pa": "pan",
    "pl": "pol", "ps": "pus", "pt": "por", "ro": "ron", "ru": "rus", "si": "sin", "sk": "slk",
    "sl": "slv", "sq": "sqi", "sr": "srp", "sv": "swe", "sw": "swa", "ta": "tam", "te": "tel",
    "th": "tha", "tr": "tur", "uk": "ukr", "ur": "urd", "uz": "uzb", "vi": "vie", "zh": "zho",
    "zu": "zul",
}  # fmt: skip
# ISO 639-2/B, which MPEG-TS may name (ISO/IEC 13818-1 2.6.18).
_BIBLIOGRAPHIC = {
    "alb": "sq", "arm": "hy", "baq": "eu", "bur": "my", "chi": "zh", "cze": "cs", "dut": "nl",
    "fre": "fr", "geo": "ka", "ger": "de", "gre": "el", "ice": "is", "mac": "mk", "may": "ms",
    "per": "fa", "rum": "ro", "slo": "sk", "wel": "cy",
}  # fmt: skip
_TAGS = {code: tag for tag, code in _CODES.items()} | _BIBLIOGRAPHIC
_NONE = frozenset({"und", "mis", "mul", "zxx"})


def mdhd_language(tag: str) -> bytes:
    """Two bytes of ``mdhd`` (ISO/IEC 14496-12 8.4.2): three letters of five bits; ``und`` for a tag
    that is not known."""
    primary = tag.split("-", 1)[0].lower()
    code = _CODES.get(primary, primary)
    if len(code) != 3 or not (code.isascii() and code.isalpha()):
        code = "und"
    a, b, c = (ord(letter) - 0x60 for letter in code)
    return struct.pack(">H", a << 10 | b << 5 | c)


def tag_of(mdhd: bytes) -> str:
    """The shortest tag for what ``mdhd_language`` gives (RFC 5646 2.2.1); empty for no language."""
    (packed,) = struct.unpack_from(">H", mdhd)
    code = "".join(chr(0x60 + (packed >> shift & 31)) for shift in (10, 5, 0))
    if packed >> 15 or not (code.isascii() and code.isalpha()) or code in _NONE:
        return ""
    return _TAGS.get(code, code)
