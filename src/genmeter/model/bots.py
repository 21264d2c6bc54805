"""The bots: which optional fields each shows, and the labels of tiers and SKUs.

:data:`ELEVEN` are the contract's. An operator adds others with a file (``--bots``). A record keeps
every field for every bot; a bot only decides what ``GET /v2/account/stats`` shows (C10).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from genmeter.model.fields import FIELDS, Field

BOT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_TABLES: Final = ("bots", "tiers", "skus")


class Bots(msgspec.Struct, frozen=True, kw_only=True):
    """The bots a service knows.

    ``shown`` has the keys of the optional fields of each; ``tiers`` and ``skus`` have labels, and a
    value without one is its own label (C17).
    """

    shown: Mapping[str, tuple[str, ...]]
    tiers: Mapping[str, str]
    skus: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(self.shown)

    def __contains__(self, name: object) -> bool:
        return name in self.shown

    def shows(self, bot: str, key: str) -> bool:
        """Whether rows of ``bot`` have the optional field ``key`` (C10)."""
        return key in self.shown[bot]

    def fields(self, bot: str) -> tuple[Field, ...]:
        """The fields of a row of ``bot``, in order (C10)."""
        shown = self.shown[bot]
        return tuple(
            field
            for field in FIELDS
            if field.in_stats and (not field.per_bot or field.key in shown)
        )

    def extended(self, document: Mapping[str, Any]) -> "Bots":
        """These and what a parsed TOML file adds; an entry of the same name replaces one.

        Raises ValueError with every fault of the file.
        """
        faults = [
            f"there is no table [{name}], only {', '.join(f'[{t}]' for t in _TABLES)}"
            for name in document
            if name not in _TABLES
        ]
        shown = _shown(document.get("bots", {}), faults)
        tiers = _labels("tiers", document.get("tiers", {}), faults)
        skus = _labels("skus", document.get("skus", {}), faults)
        if faults:
            raise ValueError("; ".join(faults))
        return Bots(
            shown={**self.shown, **shown},
            tiers={**self.tiers, **tiers},
            skus={**self.skus, **skus},
        )


def _shown(table: object, faults: list[str]) -> dict[str, tuple[str, ...]]:
    """The optional fields of each bot of a file."""
    optional = tuple(field.key for field in FIELDS if field.per_bot)
    shown: dict[str, tuple[str, ...]] = {}
    if not isinstance(table, Mapping):
        faults.append("bots must be tables such as [bots.flowmusic]")
        return shown
    for name, entry in table.items():
        where = f"[bots.{name}]"
        if not BOT_NAME.fullmatch(name) or name == "all":
            faults.append(f"{where} must be named by 1 to 64 of a-z, 0-9 and -, and not all")
        if not isinstance(entry, Mapping):
            faults.append(f"{where} must be a table")
            continue
        faults += [f"{where} has no setting {key}, only fields" for key in entry if key != "fields"]
        keys = entry.get("fields", [])
        if not isinstance(keys, list) or not all(key in optional for key in keys):
            faults.append(f"{where} fields must be a list of some of {', '.join(optional)}")
            continue
        shown[name] = tuple(keys)
    return shown


def _labels(name: str, table: object, faults: list[str]) -> dict[str, str]:
    """The labels of a file's table ``name``."""
    if isinstance(table, Mapping) and all(isinstance(text, str) for text in table.values()):
        return dict(table)
    faults.append(f'[{name}] must have a text for each value, such as TIER_ONE = "Pro"')
    return {}


_MODEL: Final = ("model",)
ELEVEN: Final = Bots(
    shown={
        "midjourney": (),
        "google-flow": ("model", "captchaProviders", "captchaRetry", "tier", "sku"),
        "dreamina": _MODEL,
        "kling": _MODEL,
        "runwayml": (),
        "pixverse": _MODEL,
        "minimax": _MODEL,
        "mureka": (),
        "tempolor": (),
        "ltxstudio": (),
        "luma": _MODEL,
    },
    tiers={
        "PAYGATE_TIER_NOT_PAID": "Free",
        "PAYGATE_TIER_ONE": "Pro",
        "PAYGATE_TIER_TIER1P5": "Ultra $99",
        "PAYGATE_TIER_TWO": "Ultra $199",
    },
    skus={
        "G1_FREEMIUM": "Free",
        "G1_TIER1": "Pro",
        "G1_TIER1P5": "Ultra $99",
        "G1_TIER2": "Ultra $199",
        "WS_FREEMIUM": "Workspace Free",
        "WS_ULTRA": "Workspace Ultra",
    },
)
"""The contract's eleven (C2), with its page's labels (C17)."""
