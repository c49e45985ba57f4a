"""Logs: one event per line, in one form, and never a secret."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from pipeline import logs
from pipeline.logs import MASK, configure, scrub
from pipeline.settings import Settings


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What came out on stderr so far, once."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


def lines(stderr: Callable[[], str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr().splitlines()]


def test_ours_and_libraries_in_one_form(stderr: Callable[[], str]) -> None:
    configure(settings())
    structlog.get_logger("vodray.x").info("hello", segment=7)
    library = logging.getLogger("some.library")
    record = library.makeRecord(library.name, logging.WARNING, "x", 1, "slow: %d ms", (12,), None)
    record.__dict__["_ray_timestamp_ns"] = 1
    library.handle(record)
    ours, theirs = lines(stderr)
    assert (ours["event"], ours["segment"], ours["level"]) == ("hello", 7, "info")
    assert ours["logger"] == "vodray.x"
    assert (theirs["event"], theirs["level"]) == ("slow: 12 ms", "warning")
    assert ours.keys() - {"segment"} == theirs.keys()


def test_the_level_holds_for_both(stderr: Callable[[], str]) -> None:
    configure(settings(log_level="warning"))
    structlog.get_logger("a").info("quiet")
    logging.getLogger("b").info("quiet")
    structlog.get_logger("a").warning("loud")
    assert [line["event"] for line in lines(stderr)] == ["loud"]


def test_a_traceback_stays_on_one_line_of_json(stderr: Callable[[], str]) -> None:
    configure(settings())
    try:
        int("postgresql://joe:pass1@db/x")
    except ValueError:
        structlog.get_logger("a").exception("broke", text="two\nlines")
    (line,) = lines(stderr)
    assert "ValueError" in line["exception"]
    assert "pass1" not in line["exception"]


def test_console_form(stderr: Callable[[], str]) -> None:
    configure(settings(log_format="console"))
    structlog.get_logger("a").info("hello", segment=7)
    line = stderr()
    assert "hello" in line
    assert "segment=7" in line


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_comes_through(stderr: Callable[[], str], form: str) -> None:
    configure(
        settings(
            log_format=form,
            minio_secret_key="verysecret1",
            webhook_secret="hook-secret",
            kafka_brokers="kafka:9093",
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="PLAIN",
            kafka_sasl_username="vodray",
            kafka_sasl_password="kafka-pass",
        )
    )
    structlog.get_logger("a").warning(
        "using verysecret1",
        url="http://s3/x?X-Amz-Signature=abcdef&part=1",
        nested={"password": "pw-in-dict", "list": ["a hook-secret"]},
        authorization="Bearer eyJ.abc",
        note="Authorization: Bearer eyJ.abc",
        settings=settings(minio_secret_key="verysecret1"),
    )
    logging.getLogger("b").warning("got %s", "verysecret1")
    logging.getLogger("b").warning("refused: %s", "kafka-pass")
    text = stderr()
    for secret in ("verysecret1", "hook-secret", "kafka-pass", "abcdef", "pw-in-dict", "eyJ.abc"):
        assert secret not in text
    assert MASK in text
    assert "part=1" in text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://joe:p%40ss@db:5432/x", f"postgresql://joe:{MASK}@db:5432/x"),
        (
            "http://h/x?a=1&X-Amz-Credential=AKIA%2F1&b=2",
            f"http://h/x?a=1&X-Amz-Credential={MASK}&b=2",
        ),
        ("host=db password=pw1 user=joe", f"host=db password={MASK} user=joe"),
        ("http://host:8083/recordings", "http://host:8083/recordings"),
        ("12:30:00 all well", "12:30:00 all well"),
    ],
)
def test_scrub(text: str, clean: str) -> None:
    assert scrub(text) == clean


def test_short_secrets_are_not_replaced_inside_words(stderr: Callable[[], str]) -> None:
    configure(settings(minio_secret_key="a"))
    structlog.get_logger("x").info("a banana")
    assert lines(stderr)[0]["event"] == "a banana"


def test_talkative_libraries_are_quiet(stderr: Callable[[], str]) -> None:
    configure(settings(log_level="debug"))
    for name in logs._TALKATIVE:
        logging.getLogger(name).info("every request")
    assert stderr() == ""
