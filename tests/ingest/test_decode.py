"""Bytes -> rows and rejections (R1 to R6): fields, admission, timestamps, accounts."""

import codecs
import json
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genmeter.errors import BadRequestError
from genmeter.ingest.decode import Admission, Decoded, decode
from genmeter.model.bots import ELEVEN
from genmeter.model.record import Row, retention_edge_ms

NOW: Final = 1_770_978_600_000  # 2026-02-13T10:30:00.000Z
DAY: Final = 86_400_000
OLDEST: Final = NOW - 92 * DAY
MINIMAL: Final = {"bot": "kling", "config": "c", "endpoint": "e", "code": 200, "msec": 1}
TEXTS: Final = (
    "config", "endpoint", "jobid", "status", "func", "model", "captchaProviders", "tier", "sku",
)  # fmt: skip
COLUMNS: Final = {"captchaProviders": "captcha_providers"}


def read(body: bytes, *, lines: bool = False, admin: bool = False, oldest: int = OLDEST) -> Decoded:
    admission = Admission(account="acme", any_account=admin, now_ms=NOW, oldest_ms=oldest)
    return decode(
        body, lines=lines, admission=admission, new_jobid=lambda ms, a, bot: f"{ms}/{a}/{bot}"
    )


def in_all_forms(admin: bool, oldest: int, fields: dict[str, Any]) -> Decoded:
    """What becomes of one record, as an object, in an array and as a line."""
    body = json.dumps(MINIMAL | fields).encode()
    one = read(body, admin=admin, oldest=oldest)
    assert one == read(b"[" + body + b"]", admin=admin, oldest=oldest)
    assert one == read(body + b"\n", lines=True, admin=admin, oldest=oldest)
    return one


def taken(admin: Any = False, oldest: Any = OLDEST, **fields: Any) -> Row:
    """The row of a record that must be taken."""
    decoded = in_all_forms(admin, oldest, fields)
    assert (decoded.rejected, decoded.rejected_total) == ([], 0)
    (row,) = decoded.rows
    return row


def refused(admin: Any = False, oldest: Any = OLDEST, **fields: Any) -> str:
    """Why a record is refused that must not be taken."""
    decoded = in_all_forms(admin, oldest, fields)
    assert (decoded.rows, decoded.rejected_total) == ([], 1)
    (rejection,) = decoded.rejected
    assert rejection.index == 0
    return rejection.error


def test_r2_what_a_record_may_leave_out_has_a_default() -> None:
    assert taken() == Row(
        account="acme", bot="kling", neg_ms=-NOW, jobid=f"{NOW}/acme/kling", config="c",
        endpoint="e", status="OK", func="", code=200, msec=1, model="", captcha_providers="",
        captcha_retry=None, tier="", sku="",
    )  # fmt: skip


@pytest.mark.parametrize("bot", ELEVEN.names)
def test_r2_all_fields_are_kept_for_every_bot(bot: str) -> None:
    texts = {name: f"{name} ä @+:" for name in TEXTS}
    row = taken(bot=bot, timestamp=NOW - 1, captchaRetry=3, **texts)
    assert row.identity() == ("acme", bot, 1 - NOW, "jobid ä @+:")  # R6
    assert row.captcha_retry == 3
    assert {name: getattr(row, COLUMNS.get(name, name)) for name in TEXTS} == texts


@pytest.mark.parametrize("name", sorted(MINIMAL))
def test_r2_required_fields_are_required(name: str) -> None:
    absent = json.dumps({key: value for key, value in MINIMAL.items() if key != name}).encode()
    (rejection,) = read(absent).rejected
    assert rejection.error == f"{name} is required"
    assert refused(**{name: None}) == f"{name} is required"
    assert f"{name} is required" in refused(**{name: ""})


def test_c20_all_faults_of_a_record_are_in_one_message() -> None:
    error = refused(
        bot="sora", config=None, endpoint="x" * 513, code=1000, msec=-1, timestamp=1.5,
        func="a\nb", captchaRetry=65_536, tier=7, colour="red",
    )  # fmt: skip
    faults = error.split("; ")
    assert faults[0] == "config is required"
    assert f"bot must be one of {', '.join(ELEVEN.names)}" in faults
    assert "endpoint has 513 bytes of UTF-8; at most 512 are allowed" in error
    assert "code must be an integer from 0 to 999, not 1000" in faults
    assert "msec must be an integer from 0 to 4294967295, not -1" in faults
    assert "timestamp must be a text or an integer, not a fraction" in faults
    assert "func holds a control character" in faults
    assert "captchaRetry must be an integer from 0 to 65535, not 65536" in faults
    assert "tier must be a text, not an integer" in faults
    assert any(fault.startswith('unknown field "colour"') for fault in faults)


EDGES: Final = [("code", 999), ("msec", 2**32 - 1), ("captchaRetry", 65_535)]


@pytest.mark.parametrize(("name", "most"), EDGES)
def test_r2_numbers_are_taken_up_to_their_edges_and_no_further(name: str, most: int) -> None:
    column = "captcha_retry" if name == "captchaRetry" else name
    for value in (0, 1, most):
        assert getattr(taken(**{name: value}), column) == value
    for value in (-1, most + 1, 2**63, 2**64, 10**19, -(10**19)):
        assert (
            refused(**{name: value}) == f"{name} must be an integer from 0 to {most}, not {value}"
        )
    for odd, kind in ((True, "a boolean"), ("1", "a text"), (1.0, "a fraction"), ([1], "an array")):
        assert refused(**{name: odd}).endswith(f"from 0 to {most}, not {kind}")


def test_c20_a_number_too_long_to_show_is_not_said_to_be_no_integer() -> None:
    for value in (10**20, -(10**20), 10**400):
        assert not refused(code=value).endswith("not an integer")


def test_c2_bots_are_exact() -> None:
    for bot in ("Kling", " kling", "google_flow", "sora", 5, ["kling"], {"kling": 1}):
        assert refused(bot=bot) == f"bot must be one of {', '.join(ELEVEN.names)}"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, "NetworkError"), (200, "OK"), (201, "Created"), (400, "Bad Request"),
        (403, "Forbidden"), (429, "Too Many Requests"), (500, "Internal Server Error"),
        (503, "Service Unavailable"), (524, "A Timeout Occurred"), (596, "Account Error"),
        (1, "Unknown"), (299, "Unknown"), (999, "Unknown"),
    ],
)  # fmt: skip
def test_r2_status_defaults_to_the_reason_phrase(code: int, status: str) -> None:
    assert taken(code=code).status == status
    assert taken(code=code, status="").status == status
    assert taken(code=code, status="mine").status == "mine"


@pytest.mark.parametrize("nothing", [None, ""])
def test_r2_an_optional_text_that_is_null_or_empty_is_not_given(nothing: str | None) -> None:
    optional = [name for name in TEXTS if name not in MINIMAL]
    assert taken(**dict.fromkeys([*optional, "account"], nothing)) == taken()
    assert taken(captchaRetry=None, timestamp=None) == taken()


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-02-13T10:30:00.000Z", NOW),
        ("2026-02-13T10:30:00Z", NOW),
        ("2026-02-13T10:30Z", NOW),
        ("2026-02-13t10:30:00.007z", NOW + 7),
        ("2026-02-13 10:30:00Z", NOW),
        ("2026-02-13T10:30:00+00:00", NOW),
        ("2026-02-13T12:30:00.5+02:00", NOW + 500),
        ("2026-02-13T05:00:00-05:30", NOW),
        ("2026-02-13T16:00:00+0530", NOW),
        ("2026-02-13T11:30:00+01", NOW),
        ("2026-02-14T10:29:00+23:59", NOW),
        ("2026-02-13T10:30:00.1Z", NOW + 100),
        ("2026-02-13T10:30:00,25Z", NOW + 250),
        ("2026-02-13T10:30:00.0019Z", NOW + 1),
        ("2026-02-13T10:30:00.999999999Z", NOW + 999),
        (NOW, NOW),
        (None, NOW),
    ],
)
def test_r2_a_timestamp_is_iso_8601_with_an_offset_or_milliseconds(text: Any, ms: int) -> None:
    assert taken(timestamp=text).neg_ms == -ms


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-02-13", "2026-02-13T10:30:00", "2026-02-13T10Z", "2026-02-13T10:30:00.Z",
        "2026-02-13T10:30:00Z\n", " 2026-02-13T10:30:00Z", "20260213T103000Z",
        "2026-W07-5T10:30:00Z", "2026-02-13T10:30:00+5", "2026-02-13T10:30:00 Z",
        "2026-02-13T10:30:00GMT", "\u0662026-02-13T10:30:00Z", "now", str(NOW), "Z",
        "2026-02-30T10:30:00Z", "2025-02-29T00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-02-13T10:60:00Z", "2026-02-13T10:30:61Z", "2026-02-13T25:00:00Z",
        "2026-02-13T10:30:00+24:00", "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
        1.5, float(NOW), True, [], {}, -1, 10**30, -(10**30), 2**63,
    ],
)  # fmt: skip
def test_r2_other_timestamps_are_refused(timestamp: Any) -> None:
    assert refused(timestamp=timestamp).startswith("timestamp ")


@pytest.mark.parametrize("offset", ["+05:60", "+05:99", "+0075"])
def test_r2_an_offset_has_at_most_59_minutes(offset: str) -> None:
    assert refused(timestamp=f"2026-02-13T10:30:00{offset}").startswith("timestamp ")


@given(
    moment=st.datetimes(datetime(2025, 11, 15), datetime(2026, 2, 12)),
    minutes=st.integers(-23 * 60 - 59, 23 * 60 + 59),
    timespec=st.sampled_from(["milliseconds", "microseconds", "auto"]),
)
@settings(max_examples=200, deadline=None)
def test_r2_any_moment_and_offset_is_read_to_the_millisecond_below(
    moment: datetime, minutes: int, timespec: str
) -> None:
    written = moment.replace(tzinfo=timezone(timedelta(minutes=minutes))).isoformat("T", timespec)
    expected = (moment - datetime(1970, 1, 1)) // timedelta(milliseconds=1) - minutes * 60_000
    assert taken(timestamp=written).neg_ms == -expected


def test_r3_five_minutes_ahead_is_the_edge() -> None:
    assert taken(timestamp=NOW + 300_000).neg_ms == -NOW - 300_000
    assert taken(timestamp="2026-02-13T10:35:00.000Z").neg_ms == -NOW - 300_000
    for ahead in (NOW + 300_001, "2026-02-13T10:35:00.001Z", "2026-02-13T11:35:00.001+01:00"):
        assert "more than 5 minutes ahead" in refused(timestamp=ahead)


def test_r3_the_edge_of_retention_is_kept_and_the_millisecond_before_is_not() -> None:
    assert taken(timestamp=OLDEST).neg_ms == -OLDEST
    assert taken(timestamp="2025-11-13T10:30:00.000Z").neg_ms == -OLDEST
    for past in (OLDEST - 1, "2025-11-13T10:29:59.999Z"):
        assert refused(timestamp=past).endswith(
            "the oldest that is kept is 2025-11-13T10:30:00.000Z"
        )


def test_c22_without_retention_all_since_1970_is_kept() -> None:
    assert retention_edge_ms(NOW, 92) == OLDEST
    assert retention_edge_ms(NOW, 0) == 0
    assert taken(oldest=0, timestamp=0).neg_ms == 0
    assert taken(oldest=0, timestamp="1970-01-01T00:00:00Z").neg_ms == 0
    for before in (-1, "1969-12-31T23:59:59.9999Z"):
        assert "before 1970" in refused(oldest=0, timestamp=before)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("char", ["x", "é", "€", "😀"])
def test_r3_a_text_has_at_most_512_bytes_of_utf_8(name: str, char: str) -> None:
    size = len(char.encode())
    for length in (511, 512):
        text = char * (length // size) + "x" * (length % size)
        assert len(text.encode()) == length
        assert getattr(taken(**{name: text}), COLUMNS.get(name, name)) == text
    text = char * (512 // size) + "x" * (512 % size + 1)
    assert refused(**{name: text}).startswith(f"{name} has 513 bytes of UTF-8; at most 512")


def test_r3_the_limit_is_each_texts_own() -> None:
    assert taken(**dict.fromkeys(TEXTS, "x" * 512)).sku == "x" * 512
    error = refused(**dict.fromkeys(TEXTS, "é" * 257))
    assert all(f"{name} has 514 bytes" in error for name in TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_r3_control_characters_are_refused(name: str) -> None:
    for number in [*range(0x20), *range(0x7F, 0xA0)]:
        assert refused(**{name: chr(number)}) == f"{name} holds a control character"
        assert refused(**{name: f"é{chr(number)}z"}) == f"{name} holds a control character"
    for char in (" ", "~", "\xa0", "\xad", "\u200b", "\u2028", "\ufeff", "\U0010ffff", "'", "\\"):
        assert getattr(taken(**{name: f"a{char}z"}), COLUMNS.get(name, name)) == f"a{char}z"


def test_r3_an_unknown_field_is_refused_whatever_its_value() -> None:
    assert all("colour" in refused(colour=value) for value in (None, "", 0, "x", [None], {"a": 1}))
    for name in ("Bot", "captcha_retry", "neg_ms", "version", "x" * 5000, "\0", ""):
        error = refused(**{name: 1})
        assert "unknown field" in error
        assert len(error) < 400


def test_c20_many_unknown_fields_do_not_make_an_error_longer_than_the_body() -> None:
    body = json.dumps({f"{number:x}": 1 for number in range(10_000)}).encode()
    (rejection,) = read(body).rejected
    assert len(rejection.error) <= len(body)


def test_r2_only_an_admin_may_name_another_account() -> None:
    assert taken(account="acme") == taken(admin=True) == taken()
    assert taken(admin=True, account="Other.1_a@b+c-d").account == "Other.1_a@b+c-d"
    assert taken(admin=True, account="o").jobid == f"{NOW}/o/kling"
    for other in ("other", "ACME", "acme ", "a\0"):
        assert "only an admin token" in refused(account=other)


@pytest.mark.parametrize(
    "account", ["a b", "-a", "a/b", "é", "a" * 65, "a\n", "a\0", "'", "x" * 600]
)
def test_r2_an_admin_cannot_make_up_an_account_with_a_bad_name(account: str) -> None:
    assert "account" in refused(admin=True, account=account)
    assert taken(admin=True, account="a" * 64).account == "a" * 64


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"[]", b" [ ] ", b"\xff", b"{", b"[{}", b"{}{}", b"nul", b"[1,]", b"NaN",
        b"\xef\xbb\xbf" * 2 + b"{}", b'{"a":"\\ud800"}', b"[" * 10**6, b'{"bot":' * 10**6,
    ],
)  # fmt: skip
def test_r4_a_body_that_cannot_be_read_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        read(body)


@pytest.mark.parametrize("lines", [False, True])
def test_r4_a_byte_order_mark_is_no_part_of_the_first_record(lines: bool) -> None:
    record = json.dumps(MINIMAL).encode()
    bodies = [b"%b", b"%b\n%b"] if lines else [b"%b", b"[%b,%b]"]
    for form, count in zip(bodies, (1, 2), strict=True):
        decoded = read(codecs.BOM_UTF8 + form % ((record,) * count), lines=lines)
        assert (len(decoded.rows), decoded.rejected) == (count, [])


def test_r4_lines_are_records_and_blank_ones_are_none() -> None:
    one = json.dumps(MINIMAL | {"jobid": "1"}).encode()
    decoded = read(b"\n\r\n" + one + b"\r\n \n5\n{\n\xff\n" + one, lines=True)
    assert [row.jobid for row in decoded.rows] == ["1", "1"]
    assert [rejection.index for rejection in decoded.rejected] == [1, 2, 3]
    for body in (b"", b"\n", b" \r\n\t\n"):
        with pytest.raises(BadRequestError, match="no record"):
            read(body, lines=True)


def test_r4_a_hundred_rejections_are_named_and_all_are_counted() -> None:
    records: list[Any] = [MINIMAL, *[{}] * 99, MINIMAL, *[{}] * 151, MINIMAL]
    decoded = read(json.dumps(records).encode())
    assert (len(decoded.rows), decoded.rejected_total) == (3, 250)
    assert [rejection.index for rejection in decoded.rejected] == [*range(1, 100), 101]


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=6)  # lone surrogates too
JSON = st.recursive(
    st.sampled_from([None, True, 0.5, 1e300, 2**70, -(2**64)]) | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
GOOD = st.fixed_dictionaries(
    {
        "bot": st.sampled_from(ELEVEN.names),
        "config": st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128),
        "endpoint": st.just("e"),
        "code": st.integers(0, 999),
        "msec": st.integers(0, 2**32 - 1),
    },
    optional={"captchaRetry": st.none() | st.integers(0, 65_535), "timestamp": st.just(NOW - 1)},
)
BAD: st.SearchStrategy[Any] = st.one_of(
    st.tuples(GOOD, st.sampled_from(sorted(MINIMAL))).map(
        lambda both: {key: value for key, value in both[0].items() if key != both[1]}
    ),
    st.tuples(GOOD, st.sampled_from([*MINIMAL, *TEXTS, "timestamp", "captchaRetry", "what"])).map(
        lambda both: both[0] | {both[1]: [None]}
    ),
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.just([])),
)


@given(st.lists(GOOD.map(lambda good: (True, good)) | BAD.map(lambda bad: (False, bad))))
@settings(max_examples=100, deadline=None)
def test_r4_each_record_of_any_mix_stands_alone(mix: list[tuple[bool, Any]]) -> None:
    texts = [
        json.dumps(record | {"jobid": str(index)} if good else record).encode()
        for index, (good, record) in enumerate(mix)
    ]
    for lines in (False, True) if mix else ():
        body = b"\n".join(texts) if lines else b"[" + b",".join(texts) + b"]"
        decoded = read(body, lines=lines)
        good_ones = [index for index, (good, _) in enumerate(mix) if good]
        assert [int(row.jobid) for row in decoded.rows] == good_ones
        bad_ones = [index for index in range(len(mix)) if index not in good_ones]
        assert [rejection.index for rejection in decoded.rejected] == bad_ones
        assert decoded.rejected_total == len(bad_ones)


def never_fails(body: bytes) -> None:
    for lines in (False, True):
        try:
            decoded = read(body, lines=lines)
        except BadRequestError as error:
            msgspec.json.encode(str(error))
            continue
        assert len(decoded.rows) + decoded.rejected_total >= 1
        assert len(decoded.rejected) == min(100, decoded.rejected_total)
        assert all(rejection.error for rejection in decoded.rejected)
        assert msgspec.json.decode(msgspec.json.encode(decoded), type=Decoded) == decoded


@given(st.binary(max_size=60), JSON, JSON, st.sampled_from([*MINIMAL, *TEXTS, "timestamp"]))
@settings(max_examples=300, deadline=None)
def test_r4_no_input_makes_it_fail(noise: bytes, odd: Any, other: Any, name: str) -> None:
    good = json.dumps(MINIMAL).encode()
    cut = len(noise) % len(good)
    never_fails(noise)
    never_fails(good[:cut] + noise + good[cut:])
    for ascii_only in (False, True):  # the one writes surrogates as bytes, the other as escapes
        texts = [json.dumps(each, ensure_ascii=ascii_only) for each in (odd, MINIMAL | {name: odd})]
        never_fails("\n".join([*texts, json.dumps(other)]).encode(errors="surrogatepass"))
        never_fails(f"[{texts[0]},{texts[1]}]".encode(errors="surrogatepass"))


@pytest.mark.parametrize("name", [*MINIMAL, "account", "timestamp", "captchaRetry", "what"])
def test_r4_no_depth_and_no_number_makes_it_fail(name: str) -> None:
    for value in ("[" * 10**5, "[" * 10**5 + "]" * 10**5, '{"a":' * 10**5, "9" * 10**5, "-1e-999"):
        text = json.dumps(MINIMAL)[:-1] + f', "{name}": {value}}}'
        for body in (text, f"[{text}]", f"{text}\n{text}"):
            never_fails(body.encode())
