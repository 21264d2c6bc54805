"""Dead letters: records that no retry can help, each with the reason, in a file of NDJSON."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from genmeter.clock import iso
from genmeter.recorder.lines import members

log = logging.getLogger(__name__)

NAME: Final = "dead-letters.ndjson"
MAX_BYTES: Final = 64 * 2**20
"""A file of this size takes no more; rejections are only counted then."""

_MAX_TEXT: Final = 4096


class DeadLetters:
    """Keeps rejected records in ``folder``, or only counts them where that is None.

    Several processes may share a file. Never raises.
    """

    def __init__(self, folder: Path | None, now_ms: Callable[[], int]) -> None:
        self._path = folder / NAME if folder else None
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._said = False
        self.count = 0
        self.unwritten = 0

    def put(self, line: bytes, reason: str) -> None:
        """Keep one record: its JSON, or its text where it is not a JSON object."""
        with self._lock:
            self.count += 1
            first, self._said = not self._said, True
        if first:
            log.warning(
                "a record was rejected: %s; this and further ones are in %s",
                reason,
                self._path or "no file, since there is no spool",
            )
        if self._path is None:
            return
        shown = line.decode(errors="replace")[:_MAX_TEXT]
        letter = {
            "time": iso(self._now_ms()),
            "reason": reason,
            "record": shown if members(line) is None or len(shown) == _MAX_TEXT else _raw(line),
        }
        try:
            text = msgspec.json.encode(letter) + b"\n"
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(file).st_size >= MAX_BYTES or os.write(file, text) < len(text):
                    raise OSError(f"{self._path} is full")
            finally:
                os.close(file)
        except OSError as error:
            if not self.unwritten:
                log.error("rejected records are only counted: %s", error)
            self.unwritten += 1


def _raw(line: bytes) -> msgspec.Raw:
    return msgspec.Raw(line.strip())
