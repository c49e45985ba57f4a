"""The nouns of the product as frozen values: what travels between processes and into PostgreSQL.

Times are timezone-aware UTC; durations in seconds carry ``_s``, sizes in bytes ``_bytes``.
Nothing here does I/O, and every type pickles.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from itertools import chain
from typing import Any
from uuid import UUID


class Status(StrEnum):
    """The life of a recording as its users see it."""

    RECORDING = "recording"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self in (Status.COMPLETED, Status.FAILED)


class EventKind(StrEnum):
    STARTED = "started"
    ENDED = "ended"


class Origin(StrEnum):
    """Where a task came from."""

    WEBHOOK = "webhook"
    KAFKA = "kafka"
    COMMAND = "command"
    STATUS = "status"
    INGEST = "ingest"


class EndReason(StrEnum):
    """Why we hold that a stream has ended; ``EVENT`` is the only one that states a time itself."""

    EVENT = "event"
    ENDLIST = "endlist"
    STALL = "stall"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """Somebody says that a stream started or ended (webhook, Kafka message, command).

    ``occurred_at`` is the sender's clock. ``started_at`` is the broadcast's own start where the
    sender names it. ``hls_path`` overrides where the playlist is: ``bucket/key``, a key in
    ``MINIO_HLS_BUCKET``, or an ``http(s)`` URL of an allowed host. ``request_id``: of the message;
    one that is sent again, by whomever, is not accepted again. ``only_own``: the sender may speak
    of streams of ``user_id`` only.
    """

    kind: EventKind
    stream_id: str
    occurred_at: datetime
    origin: Origin
    stream_key: str | None = None
    user_id: str | None = None
    started_at: datetime | None = None
    hls_path: str | None = None
    profile: str | None = None
    request_id: UUID | None = None
    only_own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Media that is missing from a recording.

    ``start_s`` is on the recording's own timeline; ``duration_s`` is how much is missing there;
    ``segments`` are media sequence numbers of the source.
    """

    start_s: float
    duration_s: float
    reason: str
    segments: tuple[int, ...] = ()
    wall_clock: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a recording is: segments seen, chunks done of those planned, seconds done."""

    segments: int = 0
    chunks_done: int = 0
    chunks_total: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One encoded version of a recording: an MP4 object with its HLS playlist.

    ``name`` is the ``{rendition}`` of the object names; ``file_path`` is ``bucket/key``; bandwidths
    in bit/s as RFC 8216 4.3.4.2 defines them; ``codecs`` as in RFC 6381.
    """

    name: str
    file_path: str
    codecs: str
    bandwidth: int
    average_bandwidth: int
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One broadcast and what became of it: a row of ``recordings``.

    ``source`` is where its playlist is looked for (see ``StreamEvent.hls_path``), unset until an
    event names it. ``ended_at`` is on the sender's clock, ``end_reason`` says how it is known.
    ``publishing``: the object is about to get its name. ``resumable``: it is completed, and goes on
    if the stream is back within the reconnect window: its ledger is still there.
    ``last_start_at`` is the latest start that an event told (a reconnect tells another), unset
    while only an end was told; ``started_at`` is then the time of that end.
    ``object_name`` is the ``{name}`` of its objects once it holds one for itself.
    ``fingerprint`` identifies the source's content (playlist start and first segment).
    ``deleted_at``: nobody sees it from then on. ``keep``: it is never deleted for its age.
    """

    id: UUID
    stream_id: str
    status: Status
    started_at: datetime
    created_at: datetime
    updated_at: datetime
    stream_key: str | None = None
    user_id: str | None = None
    title: str | None = None
    video_id: UUID | None = None
    file_path: str | None = None
    thumbnail_path: str | None = None
    duration: int = 0
    file_size: int = 0
    completed_at: datetime | None = None
    profile: str = "copy"
    source: str | None = None
    ended_at: datetime | None = None
    end_reason: EndReason | None = None
    last_start_at: datetime | None = None
    publishing: bool = False
    resumable: bool = False
    object_name: str | None = None
    fingerprint: str | None = None
    progress: Progress = field(default_factory=Progress)
    gaps: tuple[Gap, ...] = ()
    renditions: tuple[Rendition, ...] = ()
    error: str | None = None
    deleted_at: datetime | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """``length`` bytes from ``offset`` of a resource (RFC 8216 4.3.2.2)."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentKey:
    """AES-128 (RFC 8216 4.3.2.4): ``uri`` names the 16 bytes of the key; ``iv`` is 32 hex digits,
    empty where an EXT-X-MAP is encrypted and its EXT-X-KEY names none, as it must."""

    uri: str
    iv: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InitSection:
    """A Media Initialization Section: the bytes that ``EXT-X-MAP`` names (RFC 8216 4.3.2.5)."""

    uri: str
    byte_range: ByteRange | None = None
    key: SegmentKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One Media Segment of a source playlist, its URI made absolute.

    ``duration_s`` is what EXTINF claims: good for planning, never for timestamps. ``size_bytes``
    is known where the source's server lists sizes. ``era`` is its Discontinuity Sequence Number, on
    which the playlists of one presentation agree (RFC 8216 4.3.3.3). ``is_gap`` is ``EXT-X-GAP``,
    or an address that may not be read or an encryption that is not known, which ``gap_reason``
    then says.
    """

    sequence: int
    uri: str
    duration_s: float
    discontinuity: bool = False
    era: int = 0
    byte_range: ByteRange | None = None
    init: InitSection | None = None
    key: SegmentKey | None = None
    program_date_time: datetime | None = None
    is_gap: bool = False
    gap_reason: str = ""
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPictures:
    """How the pictures of an output are encoded.

    ``encoder``: FFmpeg's name of it; ``options`` are its own. ``width`` x ``height``: in square
    pixels, even. ``frame_rate``: of all pictures, None: each has the time of the source's;
    ``phase_s``: less than one of them, when the first one of recording time is shown.
    ``gop``: pictures from one keyframe to the next at most; they are where the source has them
    unless the frame rate is constant. ``max_rate``: of a decoder's buffer of ``buffer_size`` bits
    (ITU-T H.264 C.1), in bit/s; 0: unbounded.
    """

    encoder: str
    width: int
    height: int
    frame_rate: Fraction | None = None
    phase_s: Fraction = Fraction(0)
    pixel_format: str = "yuv420p"
    gop: int = 250
    max_rate: int = 0
    buffer_size: int = 0
    threads: int = 1
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSound:
    """How the sounds of a recording are encoded: codec by FFmpeg's name, bit/s, Hz; ``channels`` at
    most. ``loudness``: what they are brought to, in LUFS; None: as loud as they are."""

    codec: str
    bit_rate: int
    rate: int
    channels: int
    loudness: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One object of a recording. ``pictures``, ``sound``: None leaves them as they are.

    ``name_suffix``: of its object, behind the recording's name.
    """

    rendition: str
    name_suffix: str = ".mp4"
    pictures: EncodedPictures | None = None
    sound: EncodedSound | None = None
    has_pictures: bool = True
    has_sound: bool = True


# What the profile ``copy`` makes: nothing is encoded, pictures and sound share fragments.
AS_IT_IS = Output(rendition="source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a playlist's media is made to, by what it begins with: codecs by FFmpeg's names, empty
    where it has none; sampling rate in Hz and number of channels of the first sound.

    ``in_band``: parameter sets are put before each keyframe, since they change on the way and some
    players know only the first sample entry. ``audio_bit_rate``: of sound that has to be encoded,
    0: by its channels.
    """

    video: str = ""
    audio: str = ""
    audio_rate: int = 0
    audio_channels: int = 0
    audio_bit_rate: int = 0
    in_band: bool = False


PLAIN = Form()


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureForm:
    """What the first pictures are like: ``width`` x ``height`` as coded, ``aspect`` of a pixel,
    pictures per second."""

    width: int
    height: int
    aspect: Fraction = Fraction(1)
    frame_rate: Fraction = Fraction(25)

    @property
    def shown_width(self) -> int:
        """In square pixels."""
        return round(self.width * self.aspect)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSize:
    """Of all thumbnails of a recording, in square pixels: even numbers."""

    width: int
    height: int


# Where the first segment has no pictures.
PLAIN_TILE = TileSize(width=160, height=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLook:
    """What the first segment tells before work starts. ``begin_s``: its first timestamp, of a
    clock that ``wraps``; unless it ``is_timed``, nothing in it tells the time. ``pictures``: None
    without; ``shown_s``: when the first of them is shown; ``sound_bits_per_s``: of the first sound.
    """

    begin_s: float
    wraps: bool
    streams: tuple[str, ...]
    bytes_per_s: float
    form: Form
    pictures: PictureForm | None = None
    shown_s: Fraction = Fraction(0)
    sound_bits_per_s: float = 0.0
    is_timed: bool = True

    @property
    def anchor_s(self) -> int:
        """See ``pipeline.timebase``."""
        return int(self.begin_s // 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A playlist of sound alone (EXT-X-MEDIA): its name, and its language as in RFC 5646.

    ``shift_s`` is added to its timestamps to get those of the main playlist.
    """

    name: str = ""
    language: str = ""
    shift_s: float = 0.0
    form: Form = PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Consecutive segments of one playlist, and those beside them that may be needed to read them.

    ``start_s`` is the sum of the durations that the playlist claims before them. They continue
    ``before`` and are continued by ``after``, unless these are None; ``opening`` is the first
    segment behind the last discontinuity, if that lies before them: some encoders write parameter
    sets only there. ``earlier``: what comes before ``before``, in order, where that alone is not
    enough. ``sound``: which playlist it is, None for the main one.
    """

    segments: tuple[Segment, ...]
    start_s: float
    form: Form = PLAIN
    sound: Sound | None = None
    opening: Segment | None = None
    earlier: tuple[Segment, ...] = ()
    before: Segment | None = None
    after: Segment | None = None

    @property
    def duration_s(self) -> float:
        """What the playlist claims."""
        return sum(segment.duration_s for segment in self.segments)

    @property
    def shift_s(self) -> float:
        return self.sound.shift_s if self.sound else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSpec:
    """What one worker turns into fragments: a unit of retry. ``audio``: one stretch per playlist of
    sound alone, over about the same time as ``main``.

    ``anchor_s`` is the whole second of source time that the recording's first timestamp lies in:
    with the stretches' ``start_s`` it says which turn of a wrapping clock is meant
    (``pipeline.timebase``).
    """

    index: int
    anchor_s: int
    main: Stretch
    audio: tuple[Stretch, ...] = ()
    tile: TileSize = PLAIN_TILE

    def every_segment(self) -> Iterator[Segment]:
        """Those that are made, and those that may be needed for it."""
        for stretch in (self.main, *self.audio):
            yield from stretch.segments
            beside = (stretch.opening, *stretch.earlier, stretch.before, stretch.after)
            yield from (segment for segment in beside if segment is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A source as it was found. ``ref``: where; ``sounds``: its playlists of sound alone, aligned
    with nothing yet; ``dropped``: what it names besides, for people."""

    ref: str
    sounds: tuple[Sound, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """How far capturing a recording's source is. ``opened`` is None where nothing could be found,
    and ``problem`` then says why.

    ``is_complete``: nothing more comes; decided when ``last_start_at`` was the latest start that
    was told (``Recording.last_start_at``): a later one opens the source again.
    """

    opened: Opened | None
    is_complete: bool = False
    last_start_at: datetime | None = None
    problem: str = ""

    def is_final_for(self, recording: Recording) -> bool:
        return self.is_complete and self.last_start_at == recording.last_start_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Segments that were captured, in order, by playlist, the main one first: an entry of a
    recording's log, numbered from 0 on. What it names can be read as long as it takes."""

    number: int
    segments: tuple[tuple[Segment, ...], ...]


def by_playlist(findings: Sequence[Finding]) -> list[tuple[Segment, ...]]:
    """All segments of each playlist, the main one first; empty without a finding."""
    return [tuple(chain(*of_one)) for of_one in zip(*(f.segments for f in findings), strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One uploaded part of a multipart upload, as the store answered it."""

    number: int
    etag: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRecord:
    """What the ledger keeps of a finished chunk of one output: enough to finish without its bytes.

    Exactly one of ``part`` (bytes are in a part of the final object, which small neighbours share)
    and ``staging_key`` (bytes wait in an object of their own) is set; both are None for a chunk of
    which nothing could be kept.
    ``index`` is the compressed sample index (``pipeline.media.samples``); ``report`` is JSON.
    """

    index_number: int
    size_bytes: int
    part: Part | None
    staging_key: str | None
    index: bytes
    report: Mapping[str, Any]
    rendition: str = AS_IT_IS.rendition


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A multipart upload that the ledger knows of: one per recording and output. ``number``: of the
    output, the main one has 0."""

    key: str
    upload_id: str
    output: Output = AS_IT_IS
    number: int = 0

    @property
    def rendition(self) -> str:
        return self.output.rendition
