"""The part of the OpenAPI description about range queries."""

from typing import Any, Final

from genmeter.execution.render import FRACTIONS
from genmeter.formats.encoders import FORMATS, FORMULAS
from genmeter.model.bots import Bots
from genmeter.model.fields import BY_KEY, MAX_CODE, MAX_RETRY
from genmeter.query.aggregation import MAX_GROUP_BY, MAX_METRICS, MAX_TOP, PREVIOUS
from genmeter.query.buckets import EARLIEST_MS, INTERVALS, LATEST_MS
from genmeter.query.listing import MAX_CURSOR, NEWEST, OLDEST
from genmeter.query.metrics import DEFAULT, METRICS, PERCENTILES_HELP
from genmeter.query.parameters import MAX_VALUES
from genmeter.query.row_text import COLUMNS, NULLABLE, NUMBERS
from genmeter.query.selection import (
    ALL,
    DATE,
    DIMENSIONS,
    INSTANT,
    LAST,
    MAX_FILTER_MSEC,
    NOT,
)
from genmeter.query.stats import MAX_LIMIT

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_TIME: Final = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d(:\d\d)?)$",
}
_PERCENTILE: Final = r"p(?!0+(\.0+)?$)[0-9]{1,2}(\.[0-9]{1,2})?"
_GROUPS: Final = tuple(d.name for d in DIMENSIONS.values() if d.groups)
_ORDER: Final = f"-?({'|'.join((*METRICS, _PERCENTILE, 'start', *_GROUPS))})"
_MOMENT: Final = {
    "anyOf": [
        {"type": "string", "pattern": f"^({DATE.pattern}|{INSTANT.pattern})$"},
        {"type": "integer", "minimum": EARLIEST_MS, "maximum": LATEST_MS},
    ]
}
_ZONE: Final = {
    "type": "string", "pattern": "^[A-Za-z0-9_+/-]+$", "maxLength": 64, "default": "UTC"
}  # fmt: skip
_DURATION: Final = {"type": "integer", "minimum": 0, "maximum": MAX_FILTER_MSEC}
_CURSOR: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": MAX_CURSOR}
_TO_65535: Final = "[0-9]{1,4}|[0-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_VALUES: Final[dict[str, dict[str, Any]]] = {
    "text": {"type": "string", "minLength": 1},
    "provider": {"type": "string", "minLength": 1},
    "code": {
        "anyOf": [
            {"type": "string", "pattern": "^([0-9]{1,3}|[0-9][Xx][Xx])$"},
            {"type": "integer", "minimum": 0, "maximum": MAX_CODE},
        ]
    },
    "retry": {
        "anyOf": [
            {"type": "string", "pattern": rf"^({_TO_65535}|\(empty\))$"},
            {"type": "integer", "minimum": 0, "maximum": MAX_RETRY},
        ]
    },
}
"""What a filter takes, by the type of its dimension."""

_PATTERNS: Final = (
    "Exact, a prefix such as `veo-*`, or `(empty)`; a backslash escapes the next character"
)


def matching(*patterns: str) -> dict[str, Any]:
    """A text that one of some regular expressions matches as a whole."""
    return {"type": "string", "pattern": f"^({'|'.join(patterns)})$"}


def schemas(bots: Bots) -> dict[str, Any]:
    """The shapes of responses, and of queries in a body."""
    metrics = {name: _metric(name) for name in METRICS}
    percentile = {"type": ["integer", "null"], "minimum": 0, "description": PERCENTILES_HELP}
    figures = {
        "title": "Figures",
        "description": "The requested metrics; null where no job has a value.",
        "type": "object",
        "properties": metrics,
        "patternProperties": {r"^p\d{1,2}(\.\d{1,2})?$": percentile},
    }
    dimensions = {
        name: {"type": ["integer", "null"] if dimension.type in ("code", "retry") else _NULLABLE}
        for name, dimension in DIMENSIONS.items()
        if dimension.groups
    }
    group = {
        "title": "Group",
        "description": "A time bucket, a group, or both, with its metrics.",
        "type": "object",
        "properties": {
            "start": _TIME,
            "other": {"const": True, "description": "All groups below the top ones, as one"},
            **dimensions,
            **metrics,
        },
        "patternProperties": figures["patternProperties"],
        "additionalProperties": False,
    }
    period = {"total": _ref("Figures"), "groups": {"type": "array", "items": _ref("Group")}}
    understood = {"description": "The parameters as understood; POST them to repeat the query"}
    return {
        "Figures": figures | {"additionalProperties": False},
        "Group": group,
        "Query": {
            "title": "Query",
            "type": "object",
            "properties": {
                "query": _ref("QueryParameters") | understood,
                **period,
                "previous": {
                    "type": "object",
                    "properties": {"from": _TIME, "to": _TIME, **period},
                    "required": ["from", "to", "total"],
                    "additionalProperties": False,
                },
            },
            "required": ["query", "total"],
            "additionalProperties": False,
        },
        "Rows": {
            "title": "Rows",
            "type": "object",
            "properties": {
                "query": _ref("RowsParameters") | understood,
                "data": {"type": "array", "items": _ref("ListedRow")},
                "count": _COUNT,
                "has_more": {"type": "boolean"},
                "next_cursor": {"type": ["string", "null"]},
            },
            "required": ["query", "data", "count", "has_more", "next_cursor"],
            "additionalProperties": False,
        },
        "ListedRow": _row(),
        "QueryParameters": _document("QueryParameters", query_parameters(bots)),
        "RowsParameters": _document("RowsParameters", rows_parameters(bots)),
    }


def _document(title: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """Parameters as the keys of an object: one value, or several in an array."""
    properties = {}
    for parameter in parameters:
        schema = parameter["schema"]
        lists = schema.get("anyOf", [schema])
        if lists[0].get("type") == "array":
            schema = {"anyOf": [one for list_ in lists for one in (list_["items"], list_)]}
        properties[parameter["name"]] = schema | {"description": parameter["description"]}
    return {
        "title": title,
        "description": "The parameters of GET as keys; use arrays for several values.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


_NULLABLE: Final = ["string", "null"]


def _metric(name: str) -> dict[str, Any]:
    metric = METRICS[name]
    if metric.is_time:
        return {"oneOf": [_TIME, {"type": "null"}], "description": metric.help}
    kind = "number" if name in FRACTIONS else "integer"
    return {"type": [kind, "null"], "minimum": 0, "description": metric.help}


def _row() -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name in COLUMNS:
        if name == "timestamp":
            properties[name] = dict(_TIME)
        elif name in NULLABLE:
            properties[name] = {"type": ["integer", "null"], "minimum": 0}
        else:
            properties[name] = dict(_COUNT if name in NUMBERS else _TEXT)
        properties[name]["description"] = BY_KEY[name].help
    return {
        "title": "ListedRow",
        "description": "A job with all its fields; `account` if several accounts are queried.",
        "type": "object",
        "properties": properties,
        "required": [name for name in COLUMNS if name != "account"],
        "additionalProperties": False,
    }


def query_parameters(bots: Bots) -> list[dict[str, Any]]:
    """What a query about figures may say."""
    return [
        *_selecting(bots),
        _several(
            "metrics",
            matching(*METRICS, _PERCENTILE),
            f"Default: {', '.join(DEFAULT)}. Up to {MAX_METRICS}",
            MAX_METRICS,
        ),
        _several(
            "group_by",
            {"enum": list(_GROUPS)},
            "Up to three fields",
            MAX_GROUP_BY,
        ),
        _single("interval", {"enum": ["auto", *INTERVALS]}, "Length of a time bucket"),
        _several(
            "order", matching(_ORDER), "Metrics, fields or start; a leading - sorts descending"
        ),
        _single(
            "top",
            {"type": "integer", "minimum": 1, "maximum": MAX_TOP},
            "Number of groups shown; the rest is one group, `other`",
        ),
        _single("compare", {"const": PREVIOUS}, "Adds the metrics of the period before"),
    ]


def rows_parameters(bots: Bots) -> list[dict[str, Any]]:
    """What a query about rows may say."""
    return [
        *_selecting(bots),
        _single("order", {"enum": [NEWEST, OLDEST]}, "Default: newest first"),
        _single(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
            "Rows of a page; default: the whole range",
        ),
        _single(
            "cursor", _CURSOR, "next_cursor of the page before; leave other parameters as they are"
        ),
    ]


def _selecting(bots: Bots) -> list[dict[str, Any]]:
    fields = [
        _several(
            d.name + suffix, _VALUES[d.type], f"{_PATTERNS}{': none of these' if suffix else ''}"
        )
        for d in DIMENSIONS.values()
        if d.name not in ("account", "bot")
        for suffix in ("", NOT)
    ]
    return [
        _single(
            "bot",
            {"anyOf": [_array({"enum": list(bots.names)}), _array({"const": ALL})]},
            "Default: all",
        )
        | _COMMAS,
        _several("bot!", {"enum": list(bots.names)}, "None of these"),
        _several(
            "account",
            _VALUES["text"],
            "Other accounts, such as `team-*` or `*`; needs the admin scope",
        ),
        _several("account!", _VALUES["text"], "None of these; needs the admin scope"),
        _single("from", _MOMENT, "Date (midnight in timezone), instant, or epoch milliseconds"),
        _single("to", _MOMENT, "The end, not included; default: the end of this minute"),
        _single("last", matching(LAST.pattern), "Default: 24h"),
        _single("timezone", _ZONE, "IANA name"),
        *fields,
        _single("min_msec", _DURATION, "Shortest duration, milliseconds"),
        _single("max_msec", _DURATION, "Longest duration, milliseconds"),
        _single("format", {"enum": list(FORMATS)}, "Takes precedence over Accept"),
        _single(
            "escape",
            {"const": FORMULAS},
            "In CSV, puts ' before texts that a spreadsheet runs: those beginning with = + - @",
        ),
    ]


def _single(name: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "schema": schema,
        "description": text,
    }


_COMMAS: Final = {"style": "form", "explode": False}


def _several(
    name: str, schema: dict[str, Any], text: str, most: int = MAX_VALUES
) -> dict[str, Any]:
    return _single(name, _array(schema, most), text) | _COMMAS


def _array(items: dict[str, Any], most: int = MAX_VALUES) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": most}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
