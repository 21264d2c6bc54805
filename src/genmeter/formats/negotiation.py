"""Which format a client wants: by name, or by its ``Accept`` header."""

from collections.abc import Iterable

from genmeter.errors import NotAcceptableError
from genmeter.formats.base import Format
from genmeter.formats.encoders import FORMATS


def named(text: str) -> Format:
    """The format of that name. Raises ValueError saying which there are."""
    if text not in FORMATS:
        raise ValueError(f"one of {', '.join(FORMATS)}")
    return FORMATS[text]


def accepted(header: str) -> Format:
    """The format that an ``Accept`` header likes best, JSON where it takes anything.

    Raises NotAcceptableError where it takes none.
    """
    weights: dict[str, float] = {}
    for item in header.split(","):
        media_type, *parameters = (part.strip().lower() for part in item.split(";"))
        weights[media_type] = _weight(parameters)
    if not header.strip():
        return FORMATS["json"]

    def weight(format_: Format) -> float:
        of_group = format_.media_type.partition("/")[0] + "/*"
        for media_type in (format_.media_type, of_group, "*/*"):
            if media_type in weights:
                return weights[media_type]
        return 0.0

    best = max(FORMATS.values(), key=weight)  # of equals the first
    if weight(best) <= 0:
        offered = ", ".join(format_.media_type for format_ in FORMATS.values())
        raise NotAcceptableError(f"Accept takes none of the formats there are: {offered}")
    return best


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
