# This file's libraries are there for `make bench` alone; without them all their types are Any.
# mypy: disable-error-code="import-not-found, misc"
"""The peer: the same endpoint by FastAPI, SQLAlchemy 2, pydantic 2 and PostgreSQL.

Written as the manuals of these libraries recommend, and with nothing left out that helps it:

- a response model, which FastAPI hands to pydantic to write as JSON at native speed;
- plain ``def`` routes over a pool of synchronous connections, on FastAPI's own threads;
- SQLAlchemy's Core instead of its ORM, which takes five times as long to store a thousand rows;
- one index for all: the primary key, read backwards, gives the rows newest first, and a second
  one would only slow the writes;
- rows validated and written by pydantic in one go, counted by columns;
- tokens looked up in the database, and remembered for half a second as genmeter does.

Run by uvicorn (``bench.baseline:create_app``), one worker. ``BENCH_DATABASE`` is the URL.
"""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
)
from sqlalchemy.dialects.postgresql import Insert, insert

DATABASE = "BENCH_DATABASE"

Bot = Literal[
    "midjourney",
    "google-flow",
    "dreamina",
    "kling",
    "runwayml",
    "pixverse",
    "minimax",
    "mureka",
    "tempolor",
    "ltxstudio",
    "luma",
]
WITH_MODEL = {"google-flow", "dreamina", "kling", "minimax", "pixverse", "luma"}
TIERS = {
    "PAYGATE_TIER_NOT_PAID": "Free",
    "PAYGATE_TIER_ONE": "Pro",
    "PAYGATE_TIER_TIER1P5": "Ultra $99",
    "PAYGATE_TIER_TWO": "Ultra $199",
}
SKUS = {
    "G1_FREEMIUM": "Free",
    "G1_TIER1": "Pro",
    "G1_TIER1P5": "Ultra $99",
    "G1_TIER2": "Ultra $199",
    "WS_FREEMIUM": "Workspace Free",
    "WS_ULTRA": "Workspace Ultra",
}


METADATA = sa.MetaData()

JOBS = sa.Table(
    "jobs",
    METADATA,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("bot", sa.Text, primary_key=True),
    sa.Column("timestamp", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("jobid", sa.Text, primary_key=True),
    sa.Column("config", sa.Text, nullable=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("func", sa.Text, nullable=False),
    sa.Column("code", sa.SmallInteger, nullable=False),
    sa.Column("msec", sa.BigInteger, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("captcha_providers", sa.Text, nullable=False),
    sa.Column("captcha_retry", sa.Integer),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("sku", sa.Text, nullable=False),
)

TOKENS = sa.Table(
    "tokens",
    METADATA,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("admin", sa.Boolean, nullable=False),
)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[datetime, PlainSerializer(_iso, return_type=str)]
Counts = dict[str, int]


class JobRow(BaseModel):
    """A row of ``data``; fields that the bot does not show are None and left out."""

    timestamp: Timestamp
    jobid: str
    config: str
    endpoint: str
    status: str
    func: str
    code: int
    msec: int
    model: str | None = None
    captchaProviders: str | None = None  # noqa: N815
    captchaRetry: int | None = None  # noqa: N815
    tier: str | None = None
    sku: str | None = None


_ROWS = TypeAdapter(list[JobRow])


class Lookup(BaseModel):
    """Labels of the tiers and skus that are there."""

    tiers: dict[str, str]
    skus: dict[str, str]


class Summary(BaseModel):
    """Totals of the rows."""

    from_: Timestamp = Field(serialization_alias="from")
    to: Timestamp
    time_span: str
    by_config: Counts
    by_code: Counts
    by_endpoint: Counts
    by_status: Counts
    success_rate: str
    avg_msec: int
    by_model: Counts | None = None
    by_captcha_provider: Counts | None = None
    avg_captcha_retry: float | None = None
    by_tier: Counts | None = None
    by_sku: Counts | None = None
    lookup: Lookup | None = None


class Stats(BaseModel):
    """The answer of ``GET /v2/account/stats``."""

    bot: str
    date: str | None = None
    limit: int | None = None
    config: str | None = None
    total: int
    summary: Summary | None = None
    data: list[JobRow]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text


Text = Annotated[str, Field(max_length=512), AfterValidator(_printable)]


class NewJob(BaseModel):
    """A record as it is sent."""

    model_config = ConfigDict(extra="forbid")

    timestamp: AwareDatetime
    bot: Bot
    jobid: Text = Field(min_length=1)
    config: Text = Field(min_length=1)
    endpoint: Text = Field(min_length=1)
    status: Text
    code: int = Field(ge=0, le=999)
    msec: int = Field(ge=0, le=2**32 - 1)
    func: Text = ""
    model: Text = ""
    captcha_providers: Text = Field(default="", validation_alias="captchaProviders")
    captcha_retry: int | None = Field(
        default=None, ge=0, le=65_535, validation_alias="captchaRetry"
    )
    tier: Text = ""
    sku: Text = ""
    account: Text | None = None


class Accepted(BaseModel):
    """How many records were stored."""

    accepted: int


class Caller(BaseModel):
    """Who asks."""

    account: str
    admin: bool


class Service:
    """The routes over one database."""

    def __init__(self, url: str) -> None:
        # As many connections as FastAPI has threads: none ever waits for one.
        self._engine = sa.create_engine(url, pool_size=40, max_overflow=0)
        self._known: dict[str, tuple[float, Caller]] = {}

    def caller(self, credentials: HTTPAuthorizationCredentials) -> Caller:
        """Whose token it is; 401 where it is nobody's.

        Called by the routes on their threads; as a dependency it would cost another thread's turn.
        """
        digest = hashlib.sha256(credentials.credentials.encode()).hexdigest()
        until, caller = self._known.get(digest, (0.0, None))
        if caller is None or time.monotonic() > until:
            with self._engine.connect() as connection:
                query = sa.select(TOKENS).where(TOKENS.c.hash == digest)
                token = connection.execute(query).one_or_none()
            if token is None:
                raise HTTPException(401, "Unauthorized")
            caller = Caller(account=token.account, admin=token.admin)
            self._known[digest] = (time.monotonic() + 0.5, caller)
        return caller

    def stats(
        self,
        caller: Caller,
        bot: Bot,
        day: date | None = None,
        limit: int | None = None,
        config: str | None = None,
    ) -> Stats:
        """The newest ``limit`` jobs, or those of one UTC day, with their summary."""
        jobs = JOBS.c
        query = (
            sa.select(*_shown(bot))
            .where(jobs.account == caller.account, jobs.bot == bot)
            .order_by(jobs.timestamp.desc(), jobs.jobid.desc())
        )
        if config is not None:
            query = query.where(jobs.config == config)
        if limit is None:
            day = day or datetime.now(UTC).date()
            start = datetime(day.year, day.month, day.day, tzinfo=UTC)
            query = query.where(jobs.timestamp >= start, jobs.timestamp < start + timedelta(days=1))
        with self._engine.connect() as connection:
            result = connection.execute(query.limit(limit))
            names, rows = tuple(result.keys()), result.all()
        return Stats(
            bot=bot,
            date=str(day) if limit is None else None,
            limit=limit,
            config=config,
            total=len(rows),
            summary=_summary(bot, dict(zip(names, zip(*rows, strict=True), strict=True)))
            if rows
            else None,
            data=_ROWS.validate_python([dict(zip(names, row, strict=True)) for row in rows]),
        )

    def record(self, caller: Caller, jobs: NewJob | list[NewJob]) -> Accepted:
        """Store jobs; one that is sent again replaces itself."""
        many = jobs if isinstance(jobs, list) else [jobs]
        values = [job.model_dump() for job in many]
        for value in values:
            value["account"] = value["account"] or caller.account
            if value["account"] != caller.account and not caller.admin:
                raise HTTPException(403, "only an admin token may name another account")
        with self._engine.begin() as connection:
            connection.execute(_UPSERT, values)
        return Accepted(accepted=len(many))


def _upsert() -> Insert:
    statement = insert(JOBS)
    return statement.on_conflict_do_update(
        constraint=JOBS.primary_key,
        set_={
            column.name: statement.excluded[column.name]
            for column in JOBS.columns
            if not column.primary_key
        },
    )


_UPSERT = _upsert()


def _shown(bot: str) -> Sequence[sa.ColumnElement[Any]]:
    """The columns that rows of ``bot`` show, named as in the answer."""
    jobs = JOBS.c
    columns: list[sa.ColumnElement[Any]] = [
        jobs.timestamp,
        jobs.jobid,
        jobs.config,
        jobs.endpoint,
        jobs.status,
        jobs.func,
        jobs.code,
        jobs.msec,
    ]
    if bot in WITH_MODEL:
        columns.append(jobs.model)
    if bot == "google-flow":
        columns += [
            jobs.captcha_providers.label("captchaProviders"),
            jobs.captcha_retry.label("captchaRetry"),
            jobs.tier,
            jobs.sku,
        ]
    return columns


def _summary(bot: str, columns: Mapping[str, Sequence[Any]]) -> Summary:
    """The totals of at least one row, newest first, given by columns."""
    rows = len(columns["code"])
    codes = Counter(columns["code"])
    newest, oldest = columns["timestamp"][0], columns["timestamp"][-1]
    good = sum(count for code, count in codes.items() if 200 <= code < 300)
    tenths = _half_up(1000 * good, rows)
    summary = Summary(
        from_=oldest,
        to=newest,
        time_span=_span(newest - oldest),
        by_config=_most_first(Counter(columns["config"])),
        by_code={str(code): codes[code] for code in sorted(codes)},
        by_endpoint=_most_first(Counter(columns["endpoint"])),
        by_status=_most_first(Counter(columns["status"])),
        success_rate=f"{tenths // 10}.{tenths % 10}%",
        avg_msec=_half_up(sum(columns["msec"]), rows),
    )
    if bot in WITH_MODEL:
        models = Counter(columns["model"])
        models.pop("", None)
        summary.by_model = _most_first(models)
    if bot == "google-flow":
        providers: Counter[str] = Counter()
        for names, count in Counter(columns["captchaProviders"]).items():
            for name in filter(None, map(str.strip, names.split(","))):
                providers[name] += count
        summary.by_captcha_provider = _most_first(providers)
        retries = [number for number in columns["captchaRetry"] if number is not None]
        if retries:
            summary.avg_captcha_retry = _half_up(10 * sum(retries), len(retries)) / 10
        summary.by_tier = _most_first(Counter(tier or "(empty)" for tier in columns["tier"]))
        summary.by_sku = _most_first(Counter(sku or "(empty)" for sku in columns["sku"]))
        summary.lookup = Lookup(
            tiers={key: TIERS.get(key, key) for key in summary.by_tier},
            skus={key: SKUS.get(key, key) for key in summary.by_sku},
        )
    return summary


def _most_first(counts: Mapping[str, int]) -> Counts:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _span(length: timedelta) -> str:
    seconds = length.days * 86_400 + length.seconds
    units = [("day", 86_400), ("hour", 3600), ("minute", 60)]
    first = next((n for n, (_, size) in enumerate(units) if seconds >= size), None)
    if first is None:
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    words = []
    for name, size in units[first : first + 2]:
        number, seconds = divmod(seconds, size)
        if number:
            words.append(f"{number} {name}{'' if number == 1 else 's'}")
    return " ".join(words)


def create_app() -> FastAPI:
    """The application over the database that the environment names."""
    service = Service(os.environ[DATABASE])
    app = FastAPI()
    bearer = Depends(HTTPBearer())

    def read(
        bot: Bot,
        credentials: Annotated[HTTPAuthorizationCredentials, bearer],
        day: Annotated[date | None, Query(alias="date")] = None,
        limit: Annotated[int | None, Query(ge=1, le=50_000)] = None,
        config: str | None = None,
    ) -> Stats:
        return service.stats(service.caller(credentials), bot, day, limit, config)

    def record(
        credentials: Annotated[HTTPAuthorizationCredentials, bearer], jobs: NewJob | list[NewJob]
    ) -> Accepted:
        return service.record(service.caller(credentials), jobs)

    # Called, not used as decorators: the type checker is strict about decorators it cannot see.
    app.add_api_route(
        "/v2/account/stats",
        read,
        methods=["GET"],
        response_model=Stats,
        response_model_exclude_none=True,
    )
    app.add_api_route("/v2/account/stats", record, methods=["POST"], response_model=Accepted)
    return app
