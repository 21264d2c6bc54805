"""What :mod:`genmeter.sample_traffic` promises, and that it looks like the real thing."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import groupby, islice, pairwise
from typing import Any

import pytest

from genmeter.sample_traffic import traffic

END = 1_780_000_000_000
DAY = 86_400_000
BOTS = {
    "google-flow", "kling", "runwayml", "midjourney", "dreamina", "pixverse", "minimax", "mureka",
    "luma", "tempolor", "ltxstudio",
}  # fmt: skip
WITH_MODEL = {"google-flow", "dreamina", "kling", "minimax", "pixverse", "luma"}
REQUIRED = {
    "timestamp", "bot", "jobid", "config", "endpoint", "status", "func", "code", "msec",
}  # fmt: skip
CAPTCHA = {"captchaProviders", "captchaRetry"}
PLAN = {"tier", "sku"}
PLANS = {
    ("PAYGATE_TIER_NOT_PAID", "G1_FREEMIUM"),
    ("PAYGATE_TIER_NOT_PAID", "WS_FREEMIUM"),
    ("PAYGATE_TIER_ONE", "G1_TIER1"),
    ("PAYGATE_TIER_TIER1P5", "G1_TIER1P5"),
    ("PAYGATE_TIER_TWO", "G1_TIER2"),
    ("PAYGATE_TIER_TWO", "WS_ULTRA"),
}
SOLVERS = {"CapSolver", "2Captcha", "AntiCaptcha", "UserProvided"}
EMAIL = r"[^@\s:]+@example\.com"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
CONFIGS = {
    **dict.fromkeys(("google-flow", "kling", "runwayml", "pixverse", "luma", "ltxstudio"), EMAIL),
    "midjourney": r"\d{19}",
    "dreamina": rf"[A-Z]{{2}}:{EMAIL}",
    "minimax": r"[a-z]+\d+-\d+",
    "mureka": r"[1-9]\d+",
    "tempolor": r"[1-9]\d+",
}
JOBS = {  # with the config in place of CONFIG; the first group is the stamp of the time
    "google-flow": r"j(\d{13})\d{6}[iv]-u\d+-email:CONFIG-bot:google-flow",
    "kling": r"\d{9}",
    "runwayml": rf"user:\d+-runwayml:CONFIG-task:{UUID}",
    "midjourney": r"job:\d{4}(\d{13})-user:\d+-channel:CONFIG-bot:midjourney",
    "dreamina": r"j(\d{13})\d{6}[iv]-u\d+-CONFIG-bot:dreamina",
    "pixverse": r"user:\d+-pixverse:CONFIG-(?:video|image):\d+",
    "minimax": r"user:\d+-minimax:CONFIG-file:\d+",
    "mureka": r"j(\d{13})\d{6}m-u\d+-aCONFIG-bot:mureka",
    "tempolor": r"user:\d+-tempolor:CONFIG-job:[0-9a-f]{15}",
    "ltxstudio": rf"email:CONFIG:{UUID}-type:(?:video|image)",
    "luma": rf"j(\d{{13}})\d{{6}}[iv]-u\d+-email:CONFIG:{UUID}-bot:luma",
}

Row = dict[str, Any]


def lines(
    names: int = 12, records: int = 40_000, days: float = 28.0, end_ms: int = END, seed: int = 1
) -> list[bytes]:
    accounts = [f"account-{i}" for i in range(names)]
    made = traffic(accounts=accounts, records=records, days=days, end_ms=end_ms, seed=seed)
    return list(made)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [json.loads(line) for line in lines()]


def succeeded(row: Row) -> bool:
    return 200 <= int(row["code"]) <= 299


def rate(rows: list[Row]) -> float:
    return sum(map(succeeded, rows)) / len(rows)


def by_config(rows: list[Row]) -> dict[tuple[str, str, str], list[Row]]:
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["account"], row["bot"], row["config"]].append(row)
    return groups


def median(values: list[int]) -> int:
    return sorted(values)[len(values) // 2]


def test_same_arguments_give_the_same_bytes_and_other_seeds_do_not() -> None:
    first = lines(records=3000)
    assert first == lines(records=3000)
    assert first != lines(records=3000, seed=2)


def test_the_bytes_are_the_same_on_every_machine_and_version() -> None:
    digest = hashlib.sha256(b"\n".join(lines(records=20_000, days=90, seed=3))).hexdigest()
    assert digest == "bac168dfb6be2ffb021be8e9f89ebd47b420b3b25c3dfa7d30b608eeb0d5c7b4"


@pytest.mark.parametrize("records", [0, 1, 2, 255, 256, 257, 5000])
@pytest.mark.parametrize("days", [0.001, 0.5, 1.0, 30.25])
def test_count_order_and_bounds(records: int, days: float) -> None:
    stamps = [json.loads(line)["timestamp"] for line in lines(3, records, days, END + 1234)]
    assert len(stamps) == records
    assert all(type(stamp) is int for stamp in stamps)
    assert stamps == sorted(stamps)
    assert all(END + 1234 - days * DAY <= stamp < END + 1234 for stamp in stamps)


def test_the_whole_period_is_covered(rows: list[Row]) -> None:
    days = Counter((row["timestamp"] - END) // DAY for row in rows)
    assert set(days) == set(range(-28, 0))


def test_a_record_is_made_only_when_asked_for() -> None:
    endless = traffic(accounts=["a", "b"], records=10**12, days=90, end_ms=END, seed=1)
    assert len(list(islice(endless, 1000))) == 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accounts": []}, "at least one account"),
        ({"accounts": ["a", "a"]}, "none twice"),
        ({"records": -1}, "negative: -1"),
        ({"days": 0}, "empty"),
        ({"days": -1.0}, "empty"),
        ({"days": END / DAY + 1}, "before 1970"),
    ],
)
def test_arguments_are_checked_at_the_call(changes: Row, message: str) -> None:
    good: Row = {"accounts": ["a"], "records": 1, "days": 1.0, "end_ms": END, "seed": 1}
    with pytest.raises(ValueError, match=message):
        traffic(**{**good, **changes})


def test_lines_are_compact_json_objects() -> None:
    for line in lines(records=4000):
        row = json.loads(line)
        compact = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
        assert line == compact.encode()


def test_fields_of_each_bot(rows: list[Row]) -> None:
    assert {row["bot"] for row in rows} == BOTS
    for row in rows:
        allowed = REQUIRED | {"account"}
        allowed |= {"model"} if row["bot"] in WITH_MODEL else set()
        allowed |= CAPTCHA | PLAN if row["bot"] == "google-flow" else set()
        assert REQUIRED | {"account"} <= set(row) <= allowed
        assert (row["bot"] == "google-flow") == (set(row) >= PLAN)
        assert len(CAPTCHA & set(row)) in (0, 2)
    shown = Counter(row["bot"] for row in rows if "model" in row)
    assert set(shown) == WITH_MODEL


def test_values_keep_to_the_limits_of_a_record(rows: list[Row]) -> None:
    for row in rows:
        for key, value in row.items():
            if isinstance(value, str):
                assert len(value.encode()) <= 512, key
                assert not re.search(r"[\x00-\x1f\x7f-\x9f]", value), key
        assert 0 <= row["code"] <= 999
        assert 0 <= row["msec"] < 2**32
        assert type(row["msec"]) is int
        assert 1 <= row.get("captchaRetry", 1) <= 65_535
        assert row["status"]


def test_a_code_has_one_status(rows: list[Row]) -> None:
    names = {(row["code"], row["status"]) for row in rows}
    assert len(names) == len({code for code, _ in names})
    assert {(200, "OK"), (201, "Created"), (429, "Too Many Requests")} <= names
    assert (0, "NetworkError") in names


def test_endpoint_and_func_name_the_same_resource(rows: list[Row]) -> None:
    for row in rows:
        version = "v2" if row["bot"] in ("midjourney", "pixverse") else "v1"
        head = f"{version}-{row['bot']}-"
        assert row["func"].startswith(head)
        assert f"{row['endpoint']}-".startswith(f"post-{row['func'].removeprefix(head)}-")


def test_configs_and_jobs_have_the_form_of_their_bot(rows: list[Row]) -> None:
    stamped = set()
    for row in rows:
        bot, config = row["bot"], row["config"]
        assert re.fullmatch(CONFIGS[bot], config), config
        match = re.fullmatch(JOBS[bot].replace("CONFIG", re.escape(config)), row["jobid"])
        assert match, row["jobid"]
        if match.groups():
            stamped.add(bot)
            time = datetime.fromtimestamp(row["timestamp"] // 1000, UTC)
            assert match[1] == f"{time:%m%d%H%M%S}{row['timestamp'] % 1000:03d}"
    assert stamped == {"google-flow", "midjourney", "dreamina", "mureka", "luma"}


def test_some_addresses_are_not_plain(rows: list[Row]) -> None:
    configs = {row["config"] for row in rows}
    assert any("+" in config for config in configs)
    assert not all(config.isascii() for config in configs)


@pytest.mark.parametrize("days", [28.0, 0.0005])
def test_no_identity_repeats(days: float) -> None:
    # The short period puts about a record into each millisecond.
    made = [json.loads(line) for line in lines(names=2, records=40_000, days=days)]
    keys = {(row["account"], row["bot"], row["timestamp"], row["jobid"]) for row in made}
    assert len(keys) == len(made)


def test_one_account_is_left_out_and_uses_every_bot() -> None:
    made = [json.loads(line) for line in lines(names=1, records=20_000, days=7)]
    assert not any("account" in row for row in made)
    assert {row["bot"] for row in made} == BOTS


def test_names_of_accounts_may_hold_anything() -> None:
    accounts = ['qu"ote\\', "{user} {0} {config}", "zwölf", "", "}{{"]
    made = traffic(accounts=accounts, records=2000, days=1, end_ms=END, seed=1)
    assert {json.loads(line)["account"] for line in made} == set(accounts)


def test_accounts_differ_in_size(rows: list[Row]) -> None:
    sizes = Counter(row["account"] for row in rows)
    assert len(sizes) == 12
    assert sizes.most_common()[0][0] == "account-0"
    assert sizes["account-0"] > 5 * sizes["account-11"]


def test_an_account_uses_several_bots_with_configs_of_its_own(rows: list[Row]) -> None:
    bots: dict[str, set[str]] = defaultdict(set)
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    for account, bot, config in by_config(rows):
        bots[account].add(bot)
        owners[bot, config].add(account)
    assert bots["account-0"] == BOTS
    assert sum(len(used) > 1 for used in bots.values()) >= 10
    assert all(len(of) == 1 for of in owners.values())


def test_google_flow_leads(rows: list[Row]) -> None:
    counts = Counter(row["bot"] for row in rows)
    (first, most), (_, second) = counts.most_common(2)
    assert first == "google-flow"
    assert most > 2 * second


def test_days_are_busy_nights_and_weekends_quiet_and_use_grows(rows: list[Row]) -> None:
    times = [datetime.fromtimestamp(row["timestamp"] / 1000, UTC) for row in rows]
    hours = Counter(time.hour for time in times)
    assert hours[14] > 2.5 * hours[3]
    days = Counter(time.weekday() for time in times)  # four whole weeks
    assert days[5] + days[6] < 0.75 * (days[1] + days[2])
    late = sum(row["timestamp"] >= END - 14 * DAY for row in rows)
    assert 1.05 < late / (len(rows) - late) < 1.4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("names", [1, 30])
def test_success_rate(names: int, seed: int) -> None:
    made = [json.loads(line) for line in lines(names, 15_000, 14, seed=seed)]
    assert 0.75 < rate(made) < 0.88


def test_codes_of_the_bots(rows: list[Row]) -> None:
    codes: dict[str, Counter[int]] = defaultdict(Counter)
    for row in rows:
        codes[row["bot"]][row["code"]] += 1
    assert {200, 201, 400, 403, 429, 500, 503, 524, 596, 0} <= set(codes["google-flow"])
    assert codes["kling"][500] > codes["kling"][502]  # moderation comes as 500 there
    assert {409, 504} <= set(codes["midjourney"])
    assert all(404 in codes[bot] or codes[bot].total() < 500 for bot in codes)
    assert all(422 not in codes[bot] for bot in ("google-flow", "kling", "luma"))
    for row in rows:
        if row["bot"] == "google-flow" and succeeded(row):
            assert row["code"] == (200 if row["endpoint"].startswith("post-images") else 201)


def test_configs_fail_in_runs(rows: list[Row]) -> None:
    longest: Counter[str] = Counter()
    for (_, bot, _), own in by_config(rows).items():
        for failing, run in groupby(own, key=lambda row: row["code"] in (403, 596)):
            length = len(list(run))
            if failing:
                longest[bot] = max(longest[bot], length)
    # Single failures of these codes are rare, so a run of this length does not come by chance.
    assert longest["google-flow"] >= 12
    assert sum(length >= 6 for length in longest.values()) >= 3


def test_a_failing_config_recovers(rows: list[Row]) -> None:
    recovered = 0
    for own in by_config(rows).values():
        runs = [
            (bad, len(list(run)))
            for bad, run in groupby(own, key=lambda row: row["code"] in (403, 596))
        ]
        recovered += any(
            bad and length >= 6 and after >= 3 for (bad, length), (_, after) in pairwise(runs)
        )
    assert recovered >= 3


def test_too_many_requests_come_in_bursts() -> None:
    made = [json.loads(line) for line in lines(names=1, records=60_000, days=7)]
    flow = [row["code"] == 429 for row in made if row["bot"] == "google-flow"]
    longest = max(len(list(run)) for limited, run in groupby(flow) if limited)
    assert longest >= 8
    after = [second for first, second in pairwise(flow) if first]
    assert sum(after) / len(after) > 2 * sum(flow) / len(flow)


def test_durations_follow_what_is_asked_for(rows: list[Row]) -> None:
    spent: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        if succeeded(row):
            spent[row["bot"], row["endpoint"]].append(row["msec"])
    assert 11_000 < median(spent["google-flow", "post-images"]) < 17_000
    assert 75_000 < median(spent["google-flow", "post-videos"]) < 110_000
    assert 250_000 < median(spent["kling", "post-videos-image2video-frames"]) < 370_000
    assert 38_000 < median(spent["mureka", "post-music-create"]) < 52_000
    images = sorted(spent["google-flow", "post-images"])
    low, middle, high = (images[len(images) * part // 20] for part in (1, 10, 19))
    assert high - middle > 1.5 * (middle - low)  # a tail to the right
    assert len(set(images)) > len(images) // 2


def test_failures_are_short_and_timeouts_long(rows: list[Row]) -> None:
    refused = [row["msec"] for row in rows if row["code"] in (400, 402, 403, 404, 429, 596)]
    timeouts = [row["msec"] for row in rows if row["code"] in (504, 524)]
    assert median(refused) < 6_000
    assert timeouts
    assert min(timeouts) > 80_000


def test_captcha_providers_are_as_many_as_tries(rows: list[Row]) -> None:
    solved = [row for row in rows if "captchaRetry" in row]
    for row in solved:
        tried = row["captchaProviders"].split(",")
        assert len(tried) == row["captchaRetry"]
        assert set(tried) <= SOLVERS
        if "UserProvided" in tried:
            assert tried == ["UserProvided"]
    assert any(row["captchaProviders"].startswith("CapSolver,2Captcha,Cap") for row in solved)
    assert all("captchaRetry" in row for row in rows if row["code"] == 201 and "tier" in row)
    assert not any("captchaRetry" in row for row in rows if row["code"] in (402, 596))


def test_captchas_get_harder_over_the_period(rows: list[Row]) -> None:
    flow = [row for row in rows if row["bot"] == "google-flow" and "captchaRetry" in row]
    early = [row for row in flow if row["timestamp"] < END - 28 * DAY * 0.35]
    late = [row for row in flow if row["timestamp"] >= END - 28 * DAY * 0.19]
    mean = [sum(row["captchaRetry"] for row in part) / len(part) for part in (early, late)]
    assert 1.0 < mean[0] < 1.1
    assert 1.6 < mean[1] < 2.5
    assert {row["captchaRetry"] for row in late} == {1, 2, 3, 5}
    assert rate(late) < rate(early) - 0.03


def test_a_config_has_one_plan_and_may_lack_it_at_first(rows: list[Row]) -> None:
    flow = [row for row in rows if row["bot"] == "google-flow"]
    seen = set()
    for own in by_config(flow).values():
        plans = {(row["tier"], row["sku"]) for row in own} - {("", "")}
        assert len(plans) <= 1
        seen |= plans
    assert seen <= PLANS
    assert len(seen) >= 4
    lacking = [row for row in flow if not row["tier"]]
    third = END - 28 * DAY * 2 / 3
    assert all(row["timestamp"] < third + 1 for row in lacking)
    assert 0.1 < len(lacking) / sum(row["timestamp"] < third for row in flow) < 0.95
