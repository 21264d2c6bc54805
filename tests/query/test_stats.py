"""Parameters -> one question (C2 to C6, C23), every fault in one message (C20)."""

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genmeter.errors import BadRequestError, ForbiddenError
from genmeter.model.bots import ELEVEN
from genmeter.query.stats import StatsQuery, parse

NOW = 1_770_978_600_000  # 2026-02-13T10:30:00.000Z
MIDNIGHT = 1_770_940_800_000
DAY = 86_400_000
Pair = tuple[str, str]


def ask(*params: Pair, admin: bool = False, now: int = NOW) -> StatsQuery:
    return parse(params, account="acme", any_account=admin, now_ms=now)


def faults(*params: Pair) -> list[str]:
    with pytest.raises(BadRequestError) as caught:
        ask(*params)
    return str(caught.value).split("; ")


@pytest.mark.parametrize("bot", ELEVEN.names)
def test_c2_each_of_the_eleven_bots_can_be_asked_for(bot: str) -> None:
    assert ask(("bot", bot)) == StatsQuery(account="acme", bot=bot, date="2026-02-13")


def test_c2_bot_is_required_and_the_message_names_what_is_allowed() -> None:
    allowed = ", ".join(ELEVEN.names)
    assert faults() == ["bot is required", f"it is one of {allowed}"]
    for other in ("Kling", " kling", "kling ", "kling\n", "google_flow", "sora", "0"):
        assert faults(("bot", other)) == [f'bot is not known: "{other}"', f"it is one of {allowed}"]


def test_c20_a_long_value_is_not_repeated_at_length() -> None:
    for params in ([("bot", "x" * 10_000)], [("bot", "kling"), ("limit", "9" * 10_000)]):
        assert max(len(fault) for fault in faults(*params)) < 200


def test_c3_without_date_and_limit_it_is_today_in_utc() -> None:
    for now, today in ((MIDNIGHT - 1, "2026-02-12"), (MIDNIGHT, "2026-02-13")):
        assert ask(("bot", "kling"), now=now).date == today
        assert ask(("bot", "kling"), ("date", ""), ("limit", ""), now=now).date == today


def test_c3_a_day_lasts_from_midnight_up_to_the_next_one() -> None:
    question = ask(("bot", "kling"), ("date", "2026-02-13"))
    assert question.day_ms() == (MIDNIGHT, MIDNIGHT + DAY)
    assert ask(("bot", "kling"), ("date", "2024-02-29")).day_ms() is not None
    assert ask(("bot", "kling"), ("limit", "1")).day_ms() is None


@pytest.mark.parametrize("date", ["2025-02-29", "2026-02-30", "2026-13-01", "2026-00-01",
                                  "2026-01-00", "2026-01-32", "0000-01-01"])  # fmt: skip
def test_c3_no_day_of_the_calendar_is_a_fault(date: str) -> None:
    (fault, there) = faults(("bot", "kling"), ("date", date))
    assert fault == "date must be a day of the calendar as YYYY-MM-DD"
    assert there == f"there is no {date}"


@pytest.mark.parametrize(
    "date",
    [
        "today", "2026-2-13", "26-02-13", "20260213", "2026-W07-5", "13.02.2026", "2026/02/13",
        "2026-02-13T00:00:00Z", " 2026-02-13", "2026-02-13\n", "02026-02-13", "-2026-02-13",
        "\u0662026-02-13", "+2026-02-13", "0", "null",
    ],
)  # fmt: skip
def test_c3_any_other_form_of_a_date_is_a_fault(date: str) -> None:
    assert faults(("bot", "kling"), ("date", date)) == [
        f'date must be a UTC day as YYYY-MM-DD, not "{date}"'
    ]


@pytest.mark.parametrize("limit", [1, 2, 49_999, 50_000])
def test_c4_a_limit_goes_from_1_to_50000(limit: int) -> None:
    expected = StatsQuery(account="acme", bot="kling", limit=limit)
    assert ask(("bot", "kling"), ("limit", str(limit))) == expected


@pytest.mark.parametrize(
    "limit",
    [
        "0", "-1", "50001", "4294967297", "1e3", "1.0", "1,000", "0x10", " 5", "5 ", "5\n", "+5",
        "five", "NaN", "\u0665", "²", "1_0", "null", "99999999999999999999999", "00", "-0",
    ],
)  # fmt: skip
def test_c4_any_other_limit_is_a_fault(limit: str) -> None:
    assert faults(("bot", "kling"), ("limit", limit)) == [
        f'limit must be an integer from 1 to 50000, not "{limit}"'
    ]


@pytest.mark.parametrize("dates", [["2026-02-13"], ["2026-02-30"], ["x"], ["a", "b"], [""]])
def test_c4_with_a_limit_the_date_is_not_even_looked_at(dates: list[str]) -> None:
    params = [("bot", "kling"), *(("date", date) for date in dates), ("limit", "7")]
    for given_ in (params, params[::-1]):
        assert ask(*given_) == StatsQuery(account="acme", bot="kling", limit=7)


def test_c4_a_date_is_not_looked_at_beside_a_wrong_limit_either() -> None:
    (fault,) = faults(("bot", "kling"), ("date", "x"), ("limit", "x"))
    assert fault.startswith("limit must be")


@given(st.text(min_size=1, max_size=600))
@example("a+b@c.d: ä € 😀")
@example("CA:x@example.com")
@example("' OR 1 = 1 --")
@example(" ")
@settings(deadline=None)
def test_c5_config_is_any_text_as_it_is(config: str) -> None:
    assert ask(("bot", "kling"), ("config", config), ("limit", "9")).config == config
    assert ask(("bot", "kling"), ("config", config)).config == config


def test_c6_an_empty_parameter_is_not_given() -> None:
    plain = ask(("bot", "kling"))
    for name in ("date", "limit", "config", "account"):
        assert ask(("bot", "kling"), (name, "")) == plain
    assert ask(("bot", "kling"), ("limit", ""), ("date", "2026-01-01")).date == "2026-01-01"
    assert faults(("bot", ""))[0] == "bot is required"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bot", "kling"),
        ("date", "2026-01-01"),
        ("limit", "5"),
        ("config", "c"),
        ("account", "acme"),
    ],
)
def test_c6_a_parameter_given_twice_is_a_fault_even_with_the_same_value(
    name: str, value: str
) -> None:
    others = [] if name == "bot" else [("bot", "kling")]
    for second in (value, value + "x"):
        assert faults(*others, (name, value), (name, second)) == [
            f"{name} is given 2 times", "give it once",
        ]  # fmt: skip
    assert faults(*others, *[(name, value)] * 5)[0] == f"{name} is given 5 times"


def test_c6_unknown_parameters_are_ignored() -> None:
    unknown = [("Bot", "x"), ("BOT", "y"), ("limits", "0"), ("", "z"), ("page", ""), ("page", "2")]
    assert ask(*unknown, ("bot", "kling")) == ask(("bot", "kling"))


def test_c20_all_faults_are_in_one_message() -> None:
    text = "; ".join(
        faults(("bot", "x"), ("limit", "0"), ("config", "a"), ("config", "b"), ("account", "other"))
    )
    for part in ("bot is not known", "limit must be", "config is given 2 times"):
        assert part in text
    text = "; ".join(faults(("date", "2026-02-30"), ("account", "a"), ("account", "b")))
    for part in ("bot is required", "there is no 2026-02-30", "account is given 2 times"):
        assert part in text


def test_c23_only_an_admin_may_ask_about_another_account() -> None:
    with pytest.raises(ForbiddenError, match="account: only a token with the admin scope"):
        ask(("bot", "kling"), ("account", "other"))
    for near in ("ACME", "acme ", "acme\0", "' OR ''='"):
        with pytest.raises(ForbiddenError):
            ask(("bot", "kling"), ("account", near))
    assert ask(("bot", "kling"), ("account", "acme")).account == "acme"
    assert ask(("bot", "kling"), ("account", "other"), admin=True).account == "other"
    assert ask(("bot", "kling"), admin=True).account == "acme"


NAMES = st.sampled_from(["bot", "date", "limit", "config", "account", "Account", "x"])
VALUES = st.one_of(
    st.sampled_from(["", *ELEVEN.names, "2026-02-13", "2026-02-30", "5", "0", "acme", "other"]),
    st.text(max_size=12),
    st.text(string.digits + "-", max_size=12),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=7), st.booleans(), st.permutations(range(8)))
@settings(max_examples=400, deadline=None)
def test_c23_whatever_is_asked_it_is_about_ones_own_account(
    params: list[Pair], with_bot: bool, order: list[int]
) -> None:
    params = [*params, ("bot", "kling")] if with_bot else params
    try:
        question = ask(*params)
    except (BadRequestError, ForbiddenError):
        return
    assert question.account == "acme"
    assert question.bot in ELEVEN.names
    assert (question.date is None) != (question.limit is None)
    assert question.limit is None or 1 <= question.limit <= 50_000
    assert question.config is None or ("config", question.config) in params
    shuffled = [params[place] for place in order if place < len(params)]
    assert ask(*shuffled) == question


def test_c6_a_value_that_holds_a_semicolon_is_one_fault() -> None:
    with pytest.raises(BadRequestError) as caught:
        ask(("bot", "a; b"), ("limit", "1; 2"))
    assert list(caught.value.faults) == [
        f'bot is not known: "a; b"; it is one of {", ".join(ELEVEN.names)}',
        'limit must be an integer from 1 to 50000, not "1; 2"',
    ]
