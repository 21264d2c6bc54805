"""Logs: one JSON object a line on standard error, with whatever fields a line was given."""

import json
import logging
import sys
from typing import Any, Final

import msgspec

from genmeter.clock import iso

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "taskName", "color_message",
}  # fmt: skip
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: ``time, level, logger, message``, then its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": iso(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return _encode(line).decode()
        except UnicodeEncodeError:  # a text that is no UTF-8, such as a strange path
            return json.dumps(line, default=str)


def set_up(level: str) -> None:
    """Send everything of ``level`` and above to standard error, and nothing else anywhere."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What no line shows need not be found out for each: the caller, the thread, the process.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for chatty in ("httpx2", "httpcore2", "asyncio", "uvicorn.error"):
        logging.getLogger(chatty).setLevel("WARNING")
