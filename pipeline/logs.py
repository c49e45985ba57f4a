"""Logs of every process: one event per line on stderr, without secrets.

Console form on a terminal, JSON otherwise, unless ``LOG_FORMAT`` says. Records of libraries that
use ``logging`` come out in the same form. Standard output stays free for what commands print.
"""

import logging
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import structlog
from pydantic import SecretStr
from structlog.typing import EventDict, Processor, WrappedLogger

from pipeline.settings import Settings
from pipeline.tracing import trace_id

MASK = "**********"

_SECRET_FIELD = re.compile(
    r"password|passwd|secret|token|authorization|cookie|signature|api_?key|access_?key|dsn",
    re.IGNORECASE,
)
# What gives a secret away inside a text: URL credentials, presigned queries, bearer tokens.
_SECRET_IN_TEXT = re.compile(
    r"(?P<head>://[^\s:/@]*:)[^\s/@]+(?=@)"
    r"|(?P<name>[?&](?:X-Amz-(?:Signature|Credential|Security-Token)|token|sig)="
    r"|\bBearer\s+|\bpassword=)[^\s&\"']+",
    re.IGNORECASE,
)
# A shorter secret is too likely to be part of innocent text.
_MIN_LITERAL_CHARS = 6
_MAX_DEPTH = 6
_TALKATIVE = (
    "aiokafka",
    "asyncio",
    "asyncpg",
    "httpcore",
    "httpx",
    "minio",
    "urllib3",
    "uvicorn.access",
)


def configure(settings: Settings) -> None:
    """Send everything that this process logs to stderr, in the form that ``settings`` ask for."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        _drop_stamps,
        _name_trace,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_rendering(form(settings), scrubber(_literal_secrets(settings))),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def form(settings: Settings) -> Literal["console", "json"]:
    """The form of this process's logs: a process of ours that starts others hands it on to them."""
    return settings.log_format or ("console" if sys.stderr.isatty() else "json")


def scrub(text: str, literals: tuple[str, ...] = ()) -> str:
    """``text`` with everything masked that looks like a secret or is one of ``literals``."""
    for literal in literals:
        text = text.replace(literal, MASK)
    return _SECRET_IN_TEXT.sub(lambda found: f"{found['head'] or found['name']}{MASK}", text)


def scrubber(literals: tuple[str, ...]) -> Processor:
    """A processor that masks secrets in field values, by the field's name or by what they hold."""

    def clean(value: object, depth: int = 0) -> object:
        if isinstance(value, str):
            return scrub(value, literals)
        if isinstance(value, bool | int | float | None):
            return value
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            return {k: MASK if _is_secret(k) else clean(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset) and depth < _MAX_DEPTH:
            return [clean(item, depth + 1) for item in value]
        return scrub(str(value), literals)

    def process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {k: MASK if _is_secret(k) else clean(v) for k, v in event.items()}

    return process


def _drop_stamps(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Ray stamps every record of ``logging`` with a second time, which says nothing to a reader."""
    event.pop("_ray_timestamp_ns", None)
    return event


def _name_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What is said of a recording leads to its trace."""
    if (recording := event.get("recording")) is not None:
        event["trace"] = trace_id(recording)
    return event


def _is_secret(field: object) -> bool:
    return isinstance(field, str) and _SECRET_FIELD.search(field) is not None


def _rendering(style: Literal["console", "json"], scrubbing: Processor) -> list[Processor]:
    render: Callable[..., Any]
    if style == "json":
        render = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    # Tracebacks become text first: an exception's message may quote a URL with its credentials.
    return [structlog.processors.format_exc_info, scrubbing, render]


def _literal_secrets(settings: Settings) -> tuple[str, ...]:
    values = [value for _, value in settings if isinstance(value, SecretStr)]
    secrets = {value.get_secret_value() for value in values}
    return tuple(
        sorted((s for s in secrets if len(s) >= _MIN_LITERAL_CHARS), key=len, reverse=True)
    )
