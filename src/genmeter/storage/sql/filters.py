"""A selection's filters -> the condition of a WHERE clause. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from genmeter.query.selection import DIMENSIONS, Filter, Selection
from genmeter.storage.sql.base import of_account, quote

RETRY: Final = "ifNull(toInt32(captcha_retry), -1)"
RETRY_TEXT: Final = "ifNull(toString(captcha_retry), '')"


def condition(selection: Selection) -> str:
    """What is true of a selection's records of any time: whose they are, first of all (C23)."""
    terms = [*_whose(selection), *(_filter(filter_) for filter_ in selection.filters)]
    if selection.min_msec is not None:
        terms.append(f"msec >= {selection.min_msec:d}")
    if selection.max_msec is not None:
        terms.append(f"msec <= {selection.max_msec:d}")
    return " AND ".join(terms)


def _whose(selection: Selection) -> list[str]:
    if selection.account is not None:
        return [of_account(selection.account)]
    return [_filter(filter_) for filter_ in selection.accounts]


def _filter(filter_: Filter) -> str:
    dimension = DIMENSIONS[filter_.dimension]
    exact = [p.value for p in filter_.patterns if p.match == "exact"]
    prefixes = [p.value for p in filter_.patterns if p.match == "prefix"]
    if dimension.type == "provider":
        either = _of_providers(exact, prefixes)
    elif dimension.type == "text":
        either = _of_text(dimension.column, exact, prefixes)
    else:
        column = RETRY if dimension.type == "retry" else dimension.column
        numbers = ", ".join(str(int(value or -1)) for value in exact)
        either = [f"{column} IN ({numbers})"] if exact else []
        either += [
            f"{column} >= {int(p.value) * 100} AND {column} < {int(p.value) * 100 + 100}"
            for p in filter_.patterns
            if p.match == "class"
        ]
    together = " OR ".join(either)
    if filter_.negated:
        return f"NOT ({together})"
    return f"({together})" if len(either) > 1 else together


def _of_text(column: str, exact: Sequence[str], prefixes: Iterable[str]) -> list[str]:
    either = [f"{column} IN ({', '.join(map(quote, exact))})"] if exact else []
    return either + [f"startsWith({column}, {quote(prefix)})" for prefix in prefixes]


def _of_providers(exact: Sequence[str], prefixes: Iterable[str]) -> list[str]:
    """What is true where a captcha provider is named, or none is where "" is asked for (C16).

    By patterns, which the engine applies to each different text once, where it would split that of
    each record. A text is names between commas, with blanks around them that do not count.
    """
    either = [f"NOT {_match('[^ ,]')}"] if "" in exact else []
    for name in filter(None, exact):
        whole = name == name.strip(" ") and "," not in name
        either.append(_match(f"(^|,) *{re.escape(name)} *(,|$)") if whole else "0")
    for prefix in prefixes:
        begins = prefix == prefix.lstrip(" ") and "," not in prefix
        ends = "" if prefix.strip(" ") == prefix != "" else " *[^ ,]"
        either.append(_match(f"(^|,) *{re.escape(prefix)}{ends}") if begins else "0")
    return either


def _match(pattern: str) -> str:
    return f"match(captcha_providers, {quote(pattern)})"
