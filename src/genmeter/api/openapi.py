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
from genmeter.execution.stats_answer import Head
from genmeter.execution.summary import Summary
from genmeter.formats.encoders import FORMATS
from genmeter.ingest.decode import Rejection
from genmeter.model.bots import Bots
from genmeter.model.fields import FIELDS
from genmeter.model.record import Record
from genmeter.query.stats import MAX_LIMIT

_JSON: Final = "application/json"
_UNCHANGED: Final = "As If-None-Match has it"
_REFUSALS: Final = {
    "400": "What was sent is wrong; the message names every fault",
    "401": "No token, or not a valid one",
    "403": "The token may not do this",
    "404": "There is no such thing",
    "406": "None of the formats there are",
    "405": "The route does not know this method; see Allow",
    "413": "The body is over 16 MiB",
    "415": "The content type or coding is not supported",
    "422": "Past a limit; the message names it",
    "500": "A fault of the server; its log has the request id",
    "503": "Not possible now; see Retry-After",
}


def routes(description: dict[str, Any]) -> list[Route]:
    """``/openapi.json``, which returns ``description``."""
    body = msgspec.json.encode(description)

    async def openapi(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return [Route("/openapi.json", openapi, methods=["GET"])]


def document(bots: Bots) -> dict[str, Any]:
    """The whole description, as JSON can carry it."""
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
    schemas["Record"]["properties"]["bot"] = {
        "enum": list(bots.names),
        "description": "Bot that ran the job",
    }
    schemas["Row"] = _row_schema()
    schemas["Stats"] = _stats_schema()
    schemas |= openapi_queries.schemas()
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
        "paths": _paths(bots),
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
        "description": "A job. Fields past msec are there for the bots that show them.",
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
        "description": "The answer to a question about one bot.",
        "type": "object",
        "properties": properties | {"data": rows},
        "required": ["bot", "total", "data"],
        "additionalProperties": False,
    }


def _paths(bots: Bots) -> dict[str, Any]:
    return {
        "/v2/account/stats": {
            "get": {
                "operationId": "getAccountStats",
                "summary": "How the jobs of one bot went: one UTC day, or the last N",
                "parameters": _parameters(bots),
                "responses": _responses("Stats", "The statistics", "400", "401", "403", "503"),
            },
            "post": {
                "operationId": "postAccountStats",
                "summary": "Record jobs: 200 means on disk, and in the very next answer",
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
                        MEDIA_TYPES[0]: {"schema": {"oneOf": [_ref("Record"), _list("Record")]}},
                        MEDIA_TYPES[1]: {"schema": _ref("Record")},
                    },
                },
                "responses": _responses(
                    "Recorded",
                    "What became of the records",
                    "400",
                    "401",
                    "403",
                    "413",
                    "415",
                    "503",
                )
                | {
                    "400": _response(
                        "No record was taken, or the body could not be read",
                        {"oneOf": [_ref("Recorded"), _ref("Problem")]},
                    )
                },
            },
        },
        **_queries(bots),
        "/v2/account": {
            "get": {
                "operationId": "getAccount",
                "summary": "The token that asks",
                "responses": _responses("AccountView", "The token", "401", "503"),
            }
        },
        "/v2/account/stats/live": {"get": _live()},
        **_tokens(),
        "/healthz": {
            "get": {
                "operationId": "getHealth",
                "summary": "The process is up",
                "security": [],
                "responses": _responses("Health", "It is"),
            }
        },
        "/readyz": {
            "get": {
                "operationId": "getReadiness",
                "summary": "The engine answers a query and the writer moves",
                "security": [],
                "responses": _responses("Health", "Both", "503"),
            }
        },
    }


def _live() -> dict[str, Any]:
    """Records as they are stored."""
    return {
        "operationId": "getLive",
        "summary": "Records as they are stored: server-sent events, with ids to resume from",
        "parameters": [
            _parameter("bot", {"type": "string"}, "One or several, with commas; all by default"),
            _parameter("account", {"type": "string"}, "Another account, or *; admin tokens only"),
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "schema": {"type": "string"},
                "description": "The id of the last event that came: what followed comes now",
            },
        ],
        "responses": {
            "200": {
                "description": "A stream of events: id, and as data a row of the whole record",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **_refused("400", "401", "403", "503"),
        },
    }


def _tokens() -> dict[str, Any]:
    """The tokens of all accounts, for admins."""
    token_id = {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": "The id of the token, not its text",
    }
    return {
        "/v2/tokens": {
            "get": {
                "operationId": "getTokens",
                "summary": "The tokens of all accounts; admin tokens only",
                "responses": _responses("TokenList", "Every token there is", "401", "403", "503"),
            },
            "post": {
                "operationId": "postTokens",
                "summary": "Make a token, whose text is in this answer alone; admin tokens only",
                "requestBody": {
                    "required": True,
                    "content": {_JSON: {"schema": _ref("TokenWanted")}},
                },
                "responses": {
                    "201": _response("The token", _ref("TokenMade")),
                    **_refused("400", "401", "403", "413", "503"),
                },
            },
        },
        "/v2/tokens/{id}": {
            "delete": {
                "operationId": "deleteToken",
                "summary": "Let a token open nothing any more; admin tokens only",
                "parameters": [token_id],
                "responses": _responses("TokenView", "As it is now", "401", "403", "404", "503"),
            }
        },
    }


def _queries(bots: Bots) -> dict[str, Any]:
    """The routes of questions about ranges."""

    def resource(
        name: str, text: str, schema: str, parameters: list[dict[str, Any]]
    ) -> dict[str, Any]:
        refused = ("400", "401", "403", "406", "422", "503")
        answered = _responses(schema, "The answer", *refused)
        others = [f for f in FORMATS.values() if f.media_type != _JSON]
        answered["200"]["content"] |= {f.media_type: {"schema": {}} for f in others}
        body = {"required": True, "content": {_JSON: {"schema": _ref("Parameters")}}}
        return {
            "get": {
                "operationId": f"get{name}",
                "summary": text,
                "parameters": parameters,
                "responses": answered | {"304": {"description": _UNCHANGED}},
            },
            "post": {
                "operationId": f"post{name}",
                "summary": f"{text}; the parameters as JSON",
                "requestBody": body,
                "responses": answered | _responses(schema, "The answer", "413", "415"),
            },
        }

    account = [p for p in openapi_queries.rows_parameters(bots) if p["name"].startswith("account")]
    return {
        QUERY: resource(
            "Query",
            "Figures of any range: metrics, percentiles, groups, series",
            "Query",
            openapi_queries.query_parameters(bots),
        ),
        ROWS: resource(
            "Rows",
            "The records of any range, page by page or all of them",
            "Rows",
            openapi_queries.rows_parameters(bots),
        ),
        META: {
            "get": {
                "operationId": "getMeta",
                "summary": "What there is to ask about",
                "parameters": account,
                "responses": _responses("Meta", "What there is", "400", "401", "403", "422", "503")
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
    day = {"type": "string", "format": "date"}
    number = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
    return [
        _parameter("bot", {"enum": list(bots.names)}, "Bot to ask about", required=True),
        _parameter("date", day, "UTC day; today where neither date nor limit is given"),
        _parameter("limit", number, "The last N records over all days; date is then ignored"),
        _parameter("config", {"type": "string"}, "Only this config, exactly"),
        _parameter("account", {"type": "string"}, "Another account; admin tokens only"),
    ]


def _responses(schema: str, text: str, *refusals: str) -> dict[str, Any]:
    return {"200": _response(text, _ref(schema)), **_refused(*refusals)}


def _refused(*statuses: str) -> dict[str, Any]:
    return {status: _response(_REFUSALS[status], _ref("Problem")) for status in (*statuses, "500")}


def _response(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {_JSON: {"schema": schema}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(name)}
