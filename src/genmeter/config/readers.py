"""How the text of a setting becomes its value.

Each reader raises ValueError saying what the setting may be.
"""

import re
import tomllib
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from genmeter.config.urls import IDENTIFIER, TOKEN, Secret
from genmeter.model.bots import ELEVEN, Bots

_DIGITS: Final = re.compile(r"[0-9]{1,18}")


def integer(least: int, most: int) -> Callable[[str], int]:
    """An integer within bounds."""

    def read(text: str) -> int:
        if _DIGITS.fullmatch(text.strip()) and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"an integer from {least} to {most}")

    return read


def days(text: str) -> float:
    """A number of days."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 36_500:
        raise ValueError("a number of days, more than 0 and at most 36500")
    return value


def switch(text: str) -> bool:
    """On or off."""
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def choice(*allowed: str) -> Callable[[str], str]:
    """One of several words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text

    return read


def scopes(text: str) -> tuple[str, ...]:
    """Scopes of a token."""
    named = tuple(part.strip() for part in text.split(","))
    if not set(named) <= {"read", "write", "admin"}:
        raise ValueError("one or more of read, write, admin, separated by commas")
    return named


def text(given: str) -> str:
    """Any text but an empty one."""
    if not given.strip():
        raise ValueError("a text that is not empty")
    return given


def path(given: str) -> Path:
    """A path, whether or not there is anything."""
    return Path(text(given))


def networks(given: str) -> tuple[str, ...]:
    """IP addresses and networks, separated by commas."""
    try:
        return tuple(str(ip_network(part.strip())) for part in given.split(","))
    except ValueError as error:
        raise ValueError(
            "IP addresses or networks such as 10.0.0.0/8, separated by commas"
        ) from error


def identifier(text: str) -> str:
    """A name as SQL has it."""
    if not IDENTIFIER.fullmatch(text):
        raise ValueError("letters, digits and _, no digit first")
    return text


def file(text: str) -> Path:
    """The path of a file that can be read."""
    try:
        with Path(text).open("rb") as opened:
            opened.read(1)
    except (OSError, ValueError) as error:
        raise ValueError("a file that can be read") from error
    return Path(text)


def bots(text: str) -> Bots:
    """The contract's bots and those of a TOML file."""
    try:
        document = tomllib.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"a TOML file that can be read ({error})") from error
    try:
        return ELEVEN.extended(document)
    except ValueError as error:
        raise ValueError(f"a file of bots without faults ({error})") from error


def password(text: str) -> Secret:
    """A password."""
    if not text or any(mark in text for mark in "\r\n\0"):
        raise ValueError("one line that is not empty")
    return Secret(text)


def password_file(text: str) -> Secret:
    """The password in a file, without the line end behind it."""
    try:
        content = Path(text).read_bytes().decode()
        return password(content.removesuffix("\n").removesuffix("\r"))
    except (OSError, ValueError) as error:
        raise ValueError("a file with one line in it, the password, that can be read") from error


def token(text: str) -> Secret:
    """A token."""
    if not TOKEN.fullmatch(text):
        raise ValueError("a token as token create prints it")
    return Secret(text)


def token_file(text: str) -> Secret:
    """The token in a file, without what is blank around it."""
    try:
        return token(Path(text).read_bytes().decode().strip())
    except (OSError, ValueError) as error:
        raise ValueError("a file with a token in it that can be read") from error
