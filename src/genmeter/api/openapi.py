"""The OpenAPI 3.1 description, made from the structures the service works with."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from genmeter import __version__
from genmeter.api import openapi_queries
from genmeter.api.bodies import CODINGS, MEDIA_TYPES
from genmeter.api.schemas import (
    META,
    QUERY,
    ROWS,
    AccountView,
    Health,
    Problem,
    Recorded,
    TokenList,
    TokenMade,
    TokenWanted,
)
from genmeter.execution.catalog import Meta
from genmeter.execution.feed import EVENT_ID
from genmeter.execution.stats_answer import Head
from genmeter.execution.summary import Summary
from genmeter.formats.encoders import FORMATS
from genmeter.ingest.decode import CONTROL, ISO, Rejection
from genmeter.model.bots import Bots
from genmeter.model.fields import FIELDS
from genmeter.model.record import ACCOUNT_NAME, Record
from genmeter.query.parameters import MAX_VALUES
from genmeter.query.selection import DATE
from genmeter.query.stats import MAX_LIMIT

_JSON: Final = "application/json"
_NO_CONTROL: Final = f"^{CONTROL.pattern.replace('[', '[^', 1)}*$"
_UNCHANGED: Final = "Unchanged since the ETag in If-None-Match"
_REFUSALS: Final = {
    "400": "The request is wrong; the message names every fault",
    "401": "The token is missing or invalid",
    "403": "The token lacks the scope",
    "404": "Not found",
    "406": "Accept names no available format",
    "405": "The route does not support the method; see Allow",
    "408": "The headers or the body did not arrive in time",
    "413": "The body is over 16 MiB (64 KiB for a query or a token), or has too many records",
    "414": "The URL is too long",
    "415": "The content type or content encoding is not supported",
    "422": "A limit is exceeded; the message names it",
    "429": "More requests than the client may send; see Retry-After and RateLimit",
    "431": "The URL and the headers are over 64 KiB",
    "500": "Internal error; the log has the request id",
    "503": "Unavailable; see Retry-After",
}

_EVERYWHERE: Final = ("408", "414", "429", "431", "500", "503")
"""Statuses that every request may get, whatever it asks for."""


def routes(description: dict[str, Any]) -> list[Route]:
    """``/openapi.json``, which returns ``description``."""
    body = msgspec.json.encode(description)

    async def openapi(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return [Route("/openapi.json", openapi, methods=["GET"])]


def document(bots: Bots, *, most_records: int) -> dict[str, Any]:
    """The whole description, as JSON can carry it.

    ``most_records`` is how many records a request may hold, 0 for any number.
    """
    _, schemas = msgspec.json.schema_components(
        [
            Record,
            Rejection,
            Recorded,
            Summary,
            AccountView,
            TokenList,
            TokenMade,
            TokenWanted,
            Problem,
            Health,
            Meta,
        ],
        ref_template="#/components/schemas/{name}",
    )
    for schema in schemas.values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    _restrict(schemas["Record"], bots)
    schemas["Row"] = _row_schema()
    schemas["Stats"] = _stats_schema()
    schemas |= openapi_queries.schemas(bots)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "genmeter",
            "version": __version__,
            "summary": "Usage statistics for gateways to generative-AI services",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": _paths(bots, most_records),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token made by `genmeter token create`.",
                }
            },
        },
    }


def _row_schema() -> dict[str, Any]:
    types: dict[str, dict[str, Any]] = {
        "time": {
            "type": "string",
            "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        },
        "text": {"type": "string"},
        "providers": {"type": "string"},
        "code": {"type": "integer", "minimum": 0},
        "number": {"type": "integer", "minimum": 0},
    }
    return {
        "title": "Row",
        "description": "A job. Fields after msec appear for the bots that show them.",
        "type": "object",
        "properties": {
            f.key: types[f.type] | {"description": f.help} for f in FIELDS if f.in_stats
        },
        "required": [f.key for f in FIELDS if f.in_stats and not f.per_bot],
        "additionalProperties": False,
    }


def _stats_schema() -> dict[str, Any]:
    """The whole answer: its head as the pool writes it, and the rows."""
    _, found = msgspec.json.schema_components([Head], ref_template="#/components/schemas/{name}")
    head = found["Head"]
    # The keys that may be null inside are left out of an answer, never null.
    properties = {
        key: next((p for p in schema.get("anyOf", ()) if p.get("type") != "null"), schema)
        for key, schema in head["properties"].items()
    }
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}
    return {
        "title": "Stats",
        "description": "Statistics of one bot.",
        "type": "object",
        "properties": properties | {"data": rows},
        "required": ["bot", "total", "data"],
        "additionalProperties": False,
    }


def _restrict(record: dict[str, Any], bots: Bots) -> None:
    """Add to the schema of a record what its types do not say (R2, R3).

    That a text has at most 512 bytes, not characters, is more than a schema can say.
    """
    properties = record["properties"]
    properties["bot"] = {"enum": list(bots.names), "description": "Bot that ran the job"}
    limits: dict[str, dict[str, Any]] = {
        "account": {"pattern": f"^({ACCOUNT_NAME.pattern})?$"},
        "timestamp": {"pattern": f"^({ISO.pattern})$"},
    }
    for field in FIELDS:
        if field.is_number or field.key == "bot":
            continue
        schema = properties[field.key]
        for one in schema.get("anyOf", [schema]):
            if one.get("type") == "string":
                one |= limits.get(field.key, {"pattern": _NO_CONTROL})
            elif one.get("type") == "integer":
                one["minimum"] = 0


def _paths(bots: Bots, most_records: int) -> dict[str, Any]:
    several = {"type": "array", "items": _ref("Record"), "minItems": 1}
    if most_records:
        several["maxItems"] = most_records
    return {
        "/v2/account/stats": {
            "get": {
                "operationId": "getAccountStats",
                "summary": "Statistics of one bot: a UTC day, or the last N jobs",
                "parameters": _parameters(bots),
                "responses": _responses("Stats", "The statistics", "400", "401", "403"),
            },
            "post": {
                "operationId": "postAccountStats",
                "summary": "Record jobs; 200 means on disk and visible to the next request",
                "parameters": [
                    {
                        "name": "Content-Encoding",
                        "in": "header",
                        "required": False,
                        "schema": {"enum": list(CODINGS)},
                    }
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        MEDIA_TYPES[0]: {"schema": {"oneOf": [_ref("Record"), several]}},
                        MEDIA_TYPES[1]: {"schema": _ref("Record")},
                    },
                },
                "responses": _responses(
                    "Recorded",
                    "Accepted and rejected records",
                    "400",
                    "401",
                    "403",
                    "413",
                    "415",
                )
                | {
                    "400": _response(
                        "No record was accepted, or the body could not be read",
                        {"oneOf": [_ref("Recorded"), _ref("Problem")]},
                    )
                },
            },
        },
        **_queries(bots),
        "/v2/account": {
            "get": {
                "operationId": "getAccount",
                "summary": "The token of the request",
                "responses": _responses("AccountView", "The token", "401"),
            }
        },
        "/v2/account/stats/live": {"get": _live(bots)},
        **_tokens(),
        "/healthz": {
            "get": {
                "operationId": "getHealth",
                "summary": "The process is running",
                "security": [],
                "responses": _responses("Health", "It is"),
            }
        },
        "/readyz": {
            "get": {
                "operationId": "getReadiness",
                "summary": "The engine answers and the writer makes progress",
                "security": [],
                "responses": _responses("Health", "Both"),
            }
        },
    }


def _live(bots: Bots) -> dict[str, Any]:
    """Records as they are stored."""
    return {
        "operationId": "getLive",
        "summary": "Follow records as they are stored, as server-sent events",
        "parameters": [
            _parameter(
                "bot",
                {
                    "type": "array",
                    "items": {"enum": ["all", *bots.names]},
                    "maxItems": MAX_VALUES,
                },
                "One or several, separated by commas; default: all",
            )
            | {"style": "form", "explode": False},
            _parameter(
                "account",
                openapi_queries.matching(r"\*", ACCOUNT_NAME.pattern),
                "Another account, or *; needs the admin scope",
            ),
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "schema": openapi_queries.matching(EVENT_ID.pattern),
                "description": "Id of the last event received; the stream resumes after it",
            },
        ],
        "responses": {
            "200": {
                "description": "A stream of events; data is the record with all its fields",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **_refused("400", "401", "403"),
        },
    }


def _tokens() -> dict[str, Any]:
    """The tokens of all accounts, for admins."""
    token_id = {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": openapi_queries.matching("[0-9a-f]{8}"),
        "description": "Id of the token, not its secret",
    }
    return {
        "/v2/tokens": {
            "get": {
                "operationId": "getTokens",
                "summary": "List the tokens of all accounts; needs the admin scope",
                "responses": _responses("TokenList", "All tokens", "401", "403"),
            },
            "post": {
                "operationId": "postTokens",
                "summary": "Create a token, shown only in this response; needs the admin scope",
                "requestBody": {
                    "required": True,
                    "content": {_JSON: {"schema": _ref("TokenWanted")}},
                },
                "responses": {
                    "201": _response("The token", _ref("TokenMade")),
                    **_refused("400", "401", "403", "413", "415"),
                },
            },
        },
        "/v2/tokens/{id}": {
            "delete": {
                "operationId": "deleteToken",
                "summary": "Revoke a token; needs the admin scope",
                "parameters": [token_id],
                "responses": _responses("TokenView", "The revoked token", "401", "403", "404"),
            }
        },
    }


def _queries(bots: Bots) -> dict[str, Any]:
    """The routes of range queries."""

    def resource(
        name: str, text: str, schema: str, parameters: list[dict[str, Any]]
    ) -> dict[str, Any]:
        refused = ("400", "401", "403", "406", "422")
        answered = _responses(schema, "The response", *refused)
        others = [f for f in FORMATS.values() if f.media_type != _JSON]
        answered["304"] = {"description": _UNCHANGED}
        answered["200"]["content"] |= {f.media_type: {"schema": {}} for f in others}
        body = {"required": True, "content": {_JSON: {"schema": _ref(f"{name}Parameters")}}}
        return {
            "get": {
                "operationId": f"get{name}",
                "summary": text,
                "parameters": parameters,
                "responses": answered,
            },
            "post": {
                "operationId": f"post{name}",
                "summary": f"{text}; parameters as JSON",
                "requestBody": body,
                "responses": answered | _refused("413", "415"),
            },
        }

    account = [p for p in openapi_queries.rows_parameters(bots) if p["name"].startswith("account")]
    return {
        QUERY: resource(
            "Query",
            "Metrics of any range: percentiles, groups, time series",
            "Query",
            openapi_queries.query_parameters(bots),
        ),
        ROWS: resource(
            "Rows",
            "Records of any range, in pages or all at once",
            "Rows",
            openapi_queries.rows_parameters(bots),
        ),
        META: {
            "get": {
                "operationId": "getMeta",
                "summary": "Available fields, values and metrics",
                "parameters": account,
                "responses": _responses(
                    "Meta",
                    "Available fields, values and metrics",
                    "400",
                    "401",
                    "403",
                    "422",
                )
                | {"304": {"description": _UNCHANGED}},
            }
        },
    }


def _parameter(
    name: str, schema: dict[str, Any], text: str, *, required: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "schema": schema,
        "description": text,
    }


def _parameters(bots: Bots) -> list[dict[str, Any]]:
    day = {"type": "string", "format": "date", "pattern": f"^{DATE.pattern}$"}
    number = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
    return [
        _parameter("bot", {"enum": list(bots.names)}, "Bot", required=True),
        _parameter("date", day, "UTC day; default: today"),
        _parameter("limit", number, "The last N records of all days; date is then ignored"),
        _parameter("config", {"type": "string"}, "Only this exact config"),
        _parameter("account", {"type": "string"}, "Another account; needs the admin scope"),
    ]


def _responses(schema: str, text: str, *refusals: str) -> dict[str, Any]:
    return {"200": _response(text, _ref(schema)), **_refused(*refusals)}


def _refused(*statuses: str) -> dict[str, Any]:
    statuses = (*statuses, *_EVERYWHERE)
    return {status: _response(_REFUSALS[status], _ref("Problem")) for status in sorted(statuses)}


def _response(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {_JSON: {"schema": schema}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
