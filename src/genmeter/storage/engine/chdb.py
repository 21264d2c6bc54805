"""chDB's compiled half, by itself.

Its package would also import pyarrow and numpy, for results nobody here asks for: 40 MB of an idle
service, and more than half of what the import takes.
"""

import contextlib
import ctypes
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final


def _load() -> ModuleType:
    package = importlib.util.find_spec("chdb")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'chdb'", name="chdb")
    path = str(Path(package.origin).with_name("_chdb.abi3.so"))
    if sys.platform == "linux":
        # As the package does it: its memory functions stay its own, whatever else is loaded.
        ctypes.CDLL(path, mode=sys.getdlopenflags() | os.RTLD_DEEPBIND)
    loader = ExtensionFileLoader("chdb._chdb", path)
    spec = importlib.util.spec_from_file_location("chdb._chdb", path, loader=loader)
    assert spec is not None  # noqa: S101  # there is a loader
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


_FATAL: Final = (
    signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGTRAP,
)  # fmt: skip


@contextlib.contextmanager
def crashing() -> Iterator[None]:
    """Keep the handlers of fatal signals as they are, whatever the block sets.

    The engine's wait up to five minutes for a thread of its server that is not there, while the
    thread that failed holds its locks: a process that hangs, and whoever supervises it sees no end.
    """
    library = ctypes.CDLL(None)
    library.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    library.signal.restype = ctypes.c_void_p
    before = {number: library.signal(number, None) for number in _FATAL}
    for number, handler in before.items():
        library.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            library.signal(number, handler)


_connect: Final[Any] = _load().connect


def connect(address: str) -> Any:
    """A handle on the engine over a folder, by its address."""
    with crashing():
        return _connect(address)
