"""Logs: one JSON object a line on standard error."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genmeter.server import logs

CREATED = 1_770_978_600.25  # 2026-02-13T10:30:00.250Z
CHATTY = ("httpx2", "httpcore2", "asyncio", "uvicorn.error")


def line(message: object = "hello", *args: object, **fields: Any) -> dict[str, Any]:
    """The one line of a record, decoded; its time is its own, not the machine's."""
    record = logging.makeLogRecord(
        {
            "name": "genmeter.test",
            "levelname": "INFO",
            "levelno": logging.INFO,
            "msg": message,
            "args": args,
            "created": CREATED,
        }
        | fields
    )
    text = logs.JsonLines().format(record)
    assert "\n" not in text
    text.encode()
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_has_time_level_logger_and_message_first() -> None:
    assert list(line("%s of %d", "one", 2).items()) == [
        ("time", "2026-02-13T10:30:00.250Z"),
        ("level", "info"),
        ("logger", "genmeter.test"),
        ("message", "one of 2"),
    ]


def test_the_fields_a_line_was_given_follow_in_their_order() -> None:
    found = line(status=200, account=None, ms=1.5, whole=True, names=["a"], more={"b": 1})
    assert list(found)[4:] == ["status", "account", "ms", "whole", "names", "more"]
    assert list(found.values())[4:] == [200, None, 1.5, True, ["a"], {"b": 1}]


@pytest.mark.parametrize(
    "text", ["two\nlines\r\n", "ä 😀", 'a "quote" \\', "\x00\x1b[0m", "\u2028"]
)
def test_any_text_stays_in_its_line(text: str) -> None:
    found = line(text, detail=text)
    assert found["message"] == found["detail"] == text


def test_a_text_that_is_no_utf_8_is_still_a_line() -> None:
    """A file's name may be any bytes; Python reads them as lone surrogates."""
    assert line("cannot open a\udcff", path="b\udcff")["level"] == "info"


def test_what_json_does_not_know_is_written_as_text() -> None:
    found = line(path=Path("/a/b"), error=ValueError("no"), kind=ValueError, many=2**70)
    assert found["path"] == "/a/b"
    assert found["error"] == "no"
    assert "ValueError" in found["kind"]
    assert str(found["many"]) == str(2**70)


def test_an_exception_has_its_story_in_the_line() -> None:
    try:
        raise ValueError("what happened")
    except ValueError:
        found = line(exc_info=sys.exc_info())
    assert "what happened" in found["exception"]
    assert "Traceback" in found["exception"]
    assert "exc_info" not in found
    assert "exception" not in line()


@pytest.fixture
def fresh_logging() -> Iterator[None]:
    """Logging without handlers, put back afterwards with all its levels."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.usefixtures("fresh_logging")
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_a_level_and_those_above_go_to_standard_error(
    level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up(level)
    levels = ["debug", "info", "warning", "error"]
    for name in levels:
        logging.getLogger("genmeter.x").log(logging.getLevelName(name.upper()), name)
    out, err = capsys.readouterr()
    assert out == ""
    assert [json.loads(text)["message"] for text in err.splitlines()] == levels[
        levels.index(level) :
    ]


@pytest.mark.usefixtures("fresh_logging")
def test_setting_up_twice_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info")
    logs.set_up("info")
    logging.getLogger("genmeter.x").info("once", extra={"request": "r1"})
    (text,) = capsys.readouterr().err.splitlines()
    assert json.loads(text)["request"] == "r1"


@pytest.mark.usefixtures("fresh_logging")
def test_chatty_libraries_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("debug")
    for name in CHATTY:
        logging.getLogger(name).info("talk")
        logging.getLogger(name).warning("trouble")
    messages = [json.loads(text)["message"] for text in capsys.readouterr().err.splitlines()]
    assert messages == ["trouble"] * len(CHATTY)
