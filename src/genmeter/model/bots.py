"""The eleven bots: which fields each shows, and the labels of tiers and skus. Data only.

``model`` is shown by six bots, the captcha, tier and sku fields by google-flow alone (C10).
A record keeps every field for every bot; these tables only decide what an answer shows.
"""

from typing import Final, Literal

import msgspec

BOTS: Final = (
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
)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a row of ``data``: the column it comes from, and which bots show it (C10).

    ``counted`` fields are those that a summary counts by. An ``optional`` one is left out of a
    row whose record had none; every other is always there.
    """

    key: str
    column: str
    type: Literal["timestamp", "text", "number"] = "text"
    shown: Literal["always", "model", "captcha"] = "always"
    counted: bool = False
    optional: bool = False
    help: str


FIELDS: Final = (
    Field(key="timestamp", column="neg_ms", type="timestamp", help="ISO 8601, UTC, milliseconds"),
    Field(key="jobid", column="jobid", help="Job or task identifier"),
    Field(key="config", column="config", counted=True, help="Account, channel or email used"),
    Field(key="endpoint", column="endpoint", counted=True, help="API endpoint called"),
    Field(key="status", column="status", counted=True, help="Job status"),
    Field(key="func", column="func", help="Function name"),
    Field(key="code", column="code", type="number", counted=True, help="HTTP status code"),
    Field(key="msec", column="msec", type="number", help="Duration in milliseconds"),
    Field(key="model", column="model", shown="model", counted=True, help="AI model used"),
    Field(
        key="captchaProviders",
        column="captcha_providers",
        shown="captcha",
        counted=True,
        help="Captcha providers tried, separated by commas",
    ),
    Field(
        key="captchaRetry",
        column="captcha_retry",
        type="number",
        shown="captcha",
        optional=True,
        help="Captcha retries",
    ),
    Field(key="tier", column="tier", shown="captcha", counted=True, help="Google userPaygateTier"),
    Field(key="sku", column="sku", shown="captcha", counted=True, help="Google sku"),
)
"""The keys of a row in the contract's order."""

_WITH_MODEL: Final = frozenset({"google-flow", "dreamina", "kling", "minimax", "pixverse", "luma"})
_WITH_CAPTCHA: Final = frozenset({"google-flow"})


def shows_model(bot: str) -> bool:
    """Whether rows of ``bot`` have ``model`` and its summary ``by_model`` (C10, C11)."""
    return bot in _WITH_MODEL


def shows_captcha(bot: str) -> bool:
    """Whether rows of ``bot`` have the captcha, tier and sku fields (C10, C11)."""
    return bot in _WITH_CAPTCHA


def fields(bot: str) -> tuple[Field, ...]:
    """The keys of a row of ``bot``, in order (C10)."""
    return tuple(
        field
        for field in FIELDS
        if field.shown == "always"
        or (field.shown == "model" and shows_model(bot))
        or (field.shown == "captcha" and shows_captcha(bot))
    )


TIER_LABELS: Final = {
    "PAYGATE_TIER_NOT_PAID": "Free",
    "PAYGATE_TIER_ONE": "Pro",
    "PAYGATE_TIER_TIER1P5": "Ultra $99",
    "PAYGATE_TIER_TWO": "Ultra $199",
}
"""What the page calls each tier; a tier that is not here is its own label (C17)."""

SKU_LABELS: Final = {
    "G1_FREEMIUM": "Free",
    "G1_TIER1": "Pro",
    "G1_TIER1P5": "Ultra $99",
    "G1_TIER2": "Ultra $199",
    "WS_FREEMIUM": "Workspace Free",
    "WS_ULTRA": "Workspace Ultra",
}
"""What the page calls each sku; a sku that is not here is its own label (C17)."""
