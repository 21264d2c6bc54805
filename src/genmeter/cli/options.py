"""Command-line options made from the table of settings."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from genmeter.config.load import of_command

F = TypeVar("F", bound=Callable[..., Any])


def settings_of(command: str) -> Callable[[F], F]:
    """A decorator that gives a function all options of ``command``, as texts or None.

    They are checked by :func:`genmeter.config.load.load`, which reports all faults together.
    Passwords are no options: flags are seen by others.
    """

    def decorate(function: F) -> F:
        for setting in reversed(of_command(command)):
            if setting.secret:
                continue
            ending = f"  [{setting.variable}"
            default = setting.default_of(command)
            ending += f"; default: {default}]" if default else "]"
            kind: dict[str, Any] = {"metavar": setting.metavar}
            if setting.switch:
                kind = {"is_flag": True, "flag_value": "yes", "default": None}
            function = click.option(setting.flag, setting.name, help=setting.help + ending, **kind)(
                function
            )
        return function

    return decorate
