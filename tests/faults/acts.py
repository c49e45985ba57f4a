"""What an HTTP proxy may do to a request, and when: as data, so that a run can be repeated."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

XML = "application/xml"


@dataclass(frozen=True, slots=True)
class Delay:
    """Passed on only after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Answered by the proxy; the server hears nothing of it."""

    status: int
    body: bytes = b""
    content_type: str = XML


@dataclass(frozen=True, slots=True)
class Cut:
    """The server's answer up to this share of its body, all of which had been promised."""

    share: float = 0.5
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Truncate:
    """The server's answer with only this share of its body, and only that promised."""

    share: float = 0.5


@dataclass(frozen=True, slots=True)
class Length:
    """The server's answer with this as its ``Content-Length``."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Slow:
    """The server's answer, so many bytes of its body a second."""

    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset before the server hears of it, or ``after`` it has done it all."""

    after: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing is said for so long, then the connection is reset."""

    seconds: float = 3600.0


Act = Delay | Answer | Cut | Truncate | Length | Slow | Reset | Hang


def s3_error(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())


SLOW_DOWN = s3_error(503, "SlowDown")
INTERNAL = s3_error(500, "InternalError")
NO_KEY = s3_error(404, "NoSuchKey")
NO_UPLOAD = s3_error(404, "NoSuchUpload")
ERROR_IN_200 = s3_error(200, "InternalError")


@dataclass(slots=True, kw_only=True)
class Rule:
    """``act`` is for the requests number ``first`` to ``first + count - 1`` (from 1; ``count``
    None: for ever) among those whose ``METHOD /path?query`` has ``call``, a regular expression.
    """

    act: Act
    call: str = ""
    first: int = 1
    count: int | None = 1
    seen: int = field(default=0, init=False)

    def choose(self, call: str) -> Act | None:
        if not re.search(self.call, call):
            return None
        self.seen += 1
        late = self.count is not None and self.seen >= self.first + self.count
        return None if late or self.seen < self.first else self.act

    @property
    def used(self) -> int:
        """How many requests it has spoiled, were it alone."""
        done = max(0, self.seen - self.first + 1)
        return done if self.count is None else min(done, self.count)


ROUGH: tuple[Act, ...] = (
    SLOW_DOWN, INTERNAL, Reset(), Reset(after=True), Cut(), Cut(0.9, reset=True), Delay(1.0),
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Chance:
    """One of ``acts`` for a request with this probability, but never more often than ``in_a_row``
    for the same one: whoever tries once more than that gets through.

    It depends on ``seed``, the request and how often it has come, not on what others ask
    meanwhile. Signatures and identifiers that differ from run to run do not count.
    """

    seed: int
    probability: float
    acts: Sequence[Act] = ROUGH
    call: str = ""
    in_a_row: int = 2
    seen: Counter[str] = field(default_factory=Counter, init=False)
    spoiled: Counter[str] = field(default_factory=Counter, init=False)

    def choose(self, call: str) -> Act | None:
        if not re.search(self.call, call):
            return None
        what = _unsigned(call)
        self.seen[what] += 1
        random = Random(f"{self.seed} {_nameless(what)} {self.seen[what]}")
        if random.random() >= self.probability or self.spoiled[what] >= self.in_a_row:
            self.spoiled[what] = 0
            return None
        self.spoiled[what] += 1
        return random.choice(self.acts)


_SIGNED = re.compile(r"[?&]X-Amz-[^&]*")
_NAME = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|(?<=uploadId=)[^&]*")


def _unsigned(call: str) -> str:
    return _SIGNED.sub("", call)


def _nameless(call: str) -> str:
    return _NAME.sub("*", call)
