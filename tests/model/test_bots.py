"""The tables of the eleven bots, against the page that defines them (C2, C10, C17)."""

import pytest

from genmeter.model import record
from genmeter.model.bots import ELEVEN
from genmeter.model.fields import FIELDS
from genmeter.storage.sql import base as sql

ALL = [
    "midjourney", "google-flow", "dreamina", "kling", "runwayml", "pixverse", "minimax", "mureka",
    "tempolor", "ltxstudio", "luma",
]  # fmt: skip
WITH_MODEL = ["google-flow", "dreamina", "kling", "minimax", "pixverse", "luma"]
PLAIN_KEYS = ["timestamp", "jobid", "config", "endpoint", "status", "func", "code", "msec"]
CAPTCHA_KEYS = ["captchaProviders", "captchaRetry", "tier", "sku"]


def test_c2_there_are_the_pages_eleven_bots() -> None:
    assert list(ELEVEN.names) == ALL


@pytest.mark.parametrize("bot", ALL)
def test_c10_a_row_has_the_bots_keys_in_order(bot: str) -> None:
    expected = [*PLAIN_KEYS]
    expected += ["model"] if bot in WITH_MODEL else []
    expected += CAPTCHA_KEYS if bot == "google-flow" else []
    assert [field.key for field in ELEVEN.fields(bot)] == expected
    assert ELEVEN.shows(bot, "model") == (bot in WITH_MODEL)
    for key in CAPTCHA_KEYS:
        assert ELEVEN.shows(bot, key) == (bot == "google-flow")


def test_c10_only_captcha_retry_may_be_left_out() -> None:
    assert [field.key for field in FIELDS if field.nullable] == ["captchaRetry"]
    types = {field.key: field.type for field in FIELDS if field.type != "text"}
    assert types == {
        "timestamp": "time", "code": "code", "msec": "number", "captchaRetry": "number",
        "captchaProviders": "providers",
    }  # fmt: skip


def test_c11_the_counted_fields_are_those_of_the_summary() -> None:
    assert [field.key for field in FIELDS if field.counted] == [
        "config", "endpoint", "status", "code", "model", "captchaProviders", "tier", "sku",
    ]  # fmt: skip


def test_c17_labels_are_the_pages() -> None:
    assert ELEVEN.tiers == {
        "PAYGATE_TIER_NOT_PAID": "Free",
        "PAYGATE_TIER_ONE": "Pro",
        "PAYGATE_TIER_TIER1P5": "Ultra $99",
        "PAYGATE_TIER_TWO": "Ultra $199",
    }
    assert ELEVEN.skus == {
        "G1_FREEMIUM": "Free",
        "G1_TIER1": "Pro",
        "G1_TIER1P5": "Ultra $99",
        "G1_TIER2": "Ultra $199",
        "WS_FREEMIUM": "Workspace Free",
        "WS_ULTRA": "Workspace Ultra",
    }


def test_every_field_is_explained_and_has_its_column() -> None:
    assert all(field.help for field in FIELDS)
    columns = [field.column for field in FIELDS]
    assert len(set(columns)) == len(columns)
    assert set(columns) <= set(sql.COLUMNS)


def test_r2_a_row_of_an_answer_can_be_posted_again() -> None:
    keys = {field.key for field in FIELDS}
    assert set(record.Record.__struct_fields__) == keys
    assert set(record.Row.__struct_fields__) == set(sql.COLUMNS)
