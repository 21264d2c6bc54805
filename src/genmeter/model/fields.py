"""The one table of a record's fields. Data only.

Everything about a field comes from its entry here: how it is decoded, its column and the step that
adds it to older stores, how it is listed, filtered, grouped and exported, its place in OpenAPI, in
``meta``, on the command line and in the dashboard. A new optional text field is one more entry.
"""

from typing import Final, Literal

import msgspec

MAX_TEXT_BYTES: Final = 512
MAX_CODE: Final = 999
MAX_MSEC: Final = 2**32 - 1
MAX_RETRY: Final = 65_535

_REPEATING: Final = "LowCardinality(String)"

FieldType = Literal["time", "text", "providers", "code", "number"]
"""``providers`` is text with names between commas; ``code`` is a number with classes like 4xx."""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a record.

    ``key`` is its name in JSON (R2), ``column`` and ``column_type`` where it is stored. A number
    may be up to ``most``, a text up to ``most`` bytes of UTF-8. ``dimension`` is the name it is
    filtered by, empty where it is not, and ``groups`` says whether it is grouped by as well.

    In ``GET /v2/account/stats`` every bot shows a field, or, where ``per_bot``, those that list it
    (C10); none shows one that is not ``in_stats``. A summary counts by fields that are ``counted``
    (C11). A ``nullable`` number is left out of a row that has none.

    ``in_table`` says whether the dashboard's table of records has a column for it.
    ``default`` describes the value of a record that leaves the field out. ``since`` is the schema
    version that added its column.
    """

    key: str
    column: str
    help: str
    label: str
    type: FieldType = "text"
    column_type: str = _REPEATING
    required: bool = False
    most: int = MAX_TEXT_BYTES
    dimension: str = ""
    groups: bool = True
    in_stats: bool = True
    per_bot: bool = False
    counted: bool = False
    nullable: bool = False
    in_table: bool = True
    default: str = ""
    since: int = 1

    @property
    def is_number(self) -> bool:
        """Whether its values are integers."""
        return self.type in ("code", "number")

    @property
    def repeats(self) -> bool:
        """Whether many records share a value, so that columns gain by a dictionary."""
        return self.column_type in (_REPEATING, "UInt16", "Nullable(UInt16)")


FIELDS: Final = (
    Field(
        key="account",
        in_table=False,
        column="account",
        dimension="account",
        in_stats=False,
        label="account",
        help="Whose job it is; only an admin token may name another account than its own",
        default="the token's account",
    ),
    Field(
        key="bot",
        column="bot",
        required=True,
        dimension="bot",
        in_stats=False,
        label="bot",
        help="Bot that ran the job",
    ),
    Field(
        key="timestamp",
        in_table=False,
        column="neg_ms",
        type="time",
        column_type="Int64",
        label="time",
        help="ISO 8601, UTC, milliseconds",
        default="now",
    ),
    Field(
        key="jobid",
        in_table=False,
        column="jobid",
        column_type="String",
        dimension="jobid",
        groups=False,
        label="job id",
        help="Job or task identifier",
        default="made by the server",
    ),
    Field(
        key="config",
        column="config",
        required=True,
        dimension="config",
        counted=True,
        label="account (config)",
        help="Account, channel or email used",
    ),
    Field(
        key="endpoint",
        column="endpoint",
        required=True,
        dimension="endpoint",
        counted=True,
        label="endpoint",
        help="API endpoint called",
    ),
    Field(
        key="status",
        in_table=False,
        column="status",
        dimension="status",
        counted=True,
        label="status",
        help="Job status",
        default="the reason phrase of the code",
    ),
    Field(
        key="func",
        in_table=False,
        column="func",
        dimension="func",
        label="function",
        help="Function name",
    ),
    Field(
        key="code",
        in_table=False,
        column="code",
        type="code",
        column_type="UInt16",
        required=True,
        most=MAX_CODE,
        dimension="code",
        counted=True,
        label="code",
        help="HTTP status code; 0 where there was no HTTP response",
    ),
    Field(
        key="msec",
        in_table=False,
        column="msec",
        type="number",
        column_type="UInt32",
        required=True,
        most=MAX_MSEC,
        label="duration",
        help="Duration in milliseconds",
    ),
    Field(
        key="model",
        column="model",
        dimension="model",
        per_bot=True,
        counted=True,
        label="model",
        help="AI model used",
    ),
    Field(
        key="captchaProviders",
        column="captcha_providers",
        type="providers",
        dimension="captchaProvider",
        per_bot=True,
        counted=True,
        label="captcha provider",
        help="Captcha providers tried, separated by commas",
    ),
    Field(
        key="captchaRetry",
        in_table=False,
        column="captcha_retry",
        type="number",
        column_type="Nullable(UInt16)",
        most=MAX_RETRY,
        dimension="captchaRetry",
        per_bot=True,
        nullable=True,
        label="captcha retries",
        help="Captcha retries",
    ),
    Field(
        key="tier",
        column="tier",
        dimension="tier",
        per_bot=True,
        counted=True,
        label="tier",
        help="Google userPaygateTier",
    ),
    Field(
        key="sku",
        in_table=False,
        column="sku",
        dimension="sku",
        per_bot=True,
        counted=True,
        label="SKU",
        help="Google sku",
    ),
)
"""All fields. Those of a stats row are in the contract's order (C10)."""

LISTED: Final = tuple(sorted(FIELDS, key=lambda field: field.type != "time"))
"""The fields in the order of a listed record: the time comes first."""

BY_KEY: Final = {field.key: field for field in FIELDS}
