"""Deterministic, lifelike sample traffic for demonstrations, tests and load runs.

`traffic` yields usage records as NDJSON lines, each a record that `POST /v2/account/stats` takes.
It is pure: the arguments alone decide every byte, no clock is read and nothing is written.

Only `Random.random()` is drawn from, the one method whose sequence Python promises to keep, and
floats are added with `accumulate` or `fsum`, because `sum()` rounds differently since Python 3.12.
"""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate, pairwise
from math import exp, fsum
from random import Random
from statistics import NormalDist
from typing import NamedTuple

_HOUR, _DAY = 3_600_000, 86_400_000
_SLOTS = 4096  # entries of a table of outcomes: one draw picks endpoint, model and code
_STEPS = 64  # straight pieces of a distribution of durations
_BLOCK = 256  # records whose times are drawn and sorted together
_GOLDEN = 0x9E3779B97F4A7C15F39CC0605CEDC9  # of 2**120; multiples modulo that keep apart

# fmt: off
_J, _U = "j{stamp}{seq}{kind}-u{user}-", "user:{user}-"
_FAILS = "400:2.5 402:.5 404:.3 412:1.5 429:4 500:.4 0:.3"
_KLING = "kling-v2-6:30,kling-v2-5:25,kling-v3-0:18,kling-v2-1:12,kling-v1-6:10,kling-v2-1-master:5"
_PIX = "v6:42,v5.6:18,v5.5:14,v5:10,pixverse-c1:6,seedance-2.0:5,veo-3.1-fast:3,sora-2:2"
# A bot's share of the traffic, the share of accounts that use it, the most configs of an account;
# how a config and a job are named; the codes a failing config answers for hours, one run one code;
# the failures of a healthy one, "code:percent ..."; and what is asked for, each as
# "path weight code seconds [model:weight,...]", the seconds being the median of a success.
_BOTS: dict[str, tuple[float, float, int, str, str, str, str, str]] = {
    "google-flow": (40, .9, 6, "{email}", _J + "email:{config}-bot:google-flow", "403 403 596",
        "400:4 402:.2 403:3.2 404:.1 408:.2 429:2.6 500:.2 503:.4 524:.4 0:.4",
        "images 48 200 14 nano-banana-pro:30,nano-banana-2:28,imagen-4:18,nano-banana-2-lite:15,"
        "nano-banana:9; images/upscale 4 200 19; videos 40 201 92 veo-3.1-fast:44,veo-3.1-lite:22,"
        "veo-3.1-fast-relaxed:13,veo-3.1-quality:12,omni-flash:9; videos/upscale 4 201 64; "
        "videos/extend 4 201 98 veo-3.1-fast:8,veo-3.1-quality:2"),
    "kling": (16, .6, 4, "{email}", "{n}", "596", "400:3 402:.6 404:.4 429:4 500:5 502:.2 0:.3",
        f"videos/image2video-frames 46 200 308 {_KLING}; videos/text2video 22 200 290 {_KLING}; "
        "videos/omni 14 200 330 kling-v3-0:1; videos/lipsync 5 200 180; images/kolors 11 200 38"),
    "runwayml": (11, .5, 3, "{email}", _U + "runwayml:{config}-task:{hex32}", "596 596 412",
        _FAILS + " 422:4", "gen4turbo/create 34 200 82; gen4_5/create 18 200 130; "
        "videos/create 22 200 610; images/create 17 200 27; lipsync/create 4 200 110"),
    "midjourney": (9, .45, 3, "11{digits}", "job:{year}{stamp}{kind}-user:{user}-channel:{config}"
        "-bot:midjourney", "596", "400:2.2 404:.3 409:1.5 422:3 429:3.5 504:1 500:.2 0:.3",
        "jobs/imagine 9 200 62; jobs/button 5 200 44; jobs/blend 1 200 58; jobs/describe 1 200 13"),
    "dreamina": (7, .4, 3, "{region}:{email}", _J + "{config}-bot:dreamina", "596 596 412", _FAILS,
        "videos 62 200 105 seedance-2.0:5,seedance-2.0-fast:3,seedance-1.5-pro:2; images 33 200 36 "
        "seedream-4.6:6,seedream-5.0-lite:3,seedream-4.5:2; images/upscale 5 200 22"),
    "pixverse": (5, .35, 3, "{email}", _U + "pixverse:{config}-{kind}:{n}", "596 412",
        _FAILS + " 422:2.5", f"videos/create 66 200 75 {_PIX}; videos/extend 20 200 84 {_PIX}; "
        "images/create 14 200 21 qwen-image:6,nano-banana:3,seedream-4.5:1"),
    "minimax": (5, .35, 3, "{team}-{digits:.9}", _U + "minimax:{config}-file:{n}", "596 596 412",
        _FAILS + " 422:3 502:1.2 504:.8", "speech/create 3 201 5 speech-01-turbo:1; videos/create "
        "9 200 150 I2V-2.3:35,T2V-2.3:20,I2V-2.3-Fast:25,02:20; images/create 3 200 24 image-01:1"),
    "mureka": (3, .25, 3, "{digits:.14}", _J + "a{config}-bot:mureka", "596", _FAILS,
        "music/create 9 201 45; music/create-advanced 6 201 48; music/extend 2 201 42"),
    "luma": (2, .2, 2, "{email}", _J + "email:{config}:{hex32}-bot:luma", "596", _FAILS,
        "videos 7 201 175 ray-v3-flash:6,ray-v3:3,ray-v3-reasoning:1; images 3 200 40 photon-v2:1"),
    "tempolor": (1.2, .15, 2, "{digits:.6}", _U + "tempolor:{config}-job:{hex15}", "596",
        "400:2 402:.5 404:.5 429:4", "music/song 7 200 275; music/instrumental 3 200 210"),
    "ltxstudio": (.8, .12, 2, "{email}", "email:{config}:{hex32}-type:{kind}", "596",
        "400:3 402:.6 404:.3 429:3", "videos/ltx-create 6 200 34; images/create 4 200 11"),
}
# The median milliseconds until a failure comes, and what it is called. There is no standard phrase
# for 596; 0 stands for a request that got no HTTP answer.
_ANSWERS = {
    0: (21000, "NetworkError"), 200: (0, "OK"), 201: (0, "Created"), 400: (1400, "Bad Request"),
    402: (280, "Payment Required"), 403: (7200, "Forbidden"), 404: (190, "Not Found"),
    408: (300000, "Request Timeout"), 409: (240, "Conflict"), 412: (640, "Precondition Failed"),
    422: (5200, "Unprocessable Entity"), 429: (1900, "Too Many Requests"),
    500: (9500, "Internal Server Error"), 502: (14000, "Bad Gateway"),
    503: (24000, "Service Unavailable"), 504: (118000, "Gateway Timeout"),
    524: (100500, "A Timeout Occurred"), 596: (420, "Account Error"),
}
_UNSOLVED = (0, 402, 404, 408, 596)  # refused, or lost, before a captcha was solved
# The period's eras by where they end, and what each does to google-flow: many records without a
# plan at first, later a stricter check of captchas, at last up to five tries to get through it.
_ERAS = (1 / 3, .68, .8)
_STRICT = (1.5, 1.5, 3.0, 3.6)  # factor on 403 and 429
_ONCE = ([1] * 97 + [2] * 3, [1] * 94 + [2] * 6)  # tries of 100 successes, of 100 failures
_OFTEN = ([1] * 70 + [2] * 8 + [3] * 13 + [5] * 9, [1] * 6 + [2] * 2 + [3] * 30 + [5] * 62)
_TRIES = (_ONCE, _ONCE, ([1] * 100, [1] * 100), _OFTEN)
_SOLVERS = ("2Captcha CapSolver", "CapSolver", "AntiCaptcha CapSolver 2Captcha", "UserProvided",
            *["CapSolver 2Captcha"] * 5)
_PLANS = (*["TWO G1_TIER2", "TWO WS_ULTRA", "ONE G1_TIER1"] * 4, *["TIER1P5 G1_TIER1P5"] * 2,
          "NOT_PAID G1_FREEMIUM", "NOT_PAID WS_FREEMIUM")
_RHYTHM = (40, 32, 27, 25, 26, 31, 42, 58, 74, 86, 93, 96,  # by hour, UTC
           95, 98, 100, 99, 97, 94, 90, 85, 78, 69, 59, 49)
_NAMES = "ada ben chloe edda finn gus hana ivo jonas kira mara noor otto pia renée sami tess zoë"
_TEAMS = "studio media lab films ads shop games press audio design"
_KINDS = {"images": "image", "music": "music", "speech": "audio"}  # else a video
_FIELDS = {"year": "{0}", "stamp": "{1}", "seq": "{2:06d}", "kind": "{3}", "n": "{4}",
           "hex15": "{5:.15}", "hex32": "{6}"}  # places in the id of a job
# fmt: on
_MINUTES = tuple(f"{s // 60:02d}{s % 60:02d}" for s in range(3600))

_Draw = Callable[[], float]
# Text from endpoint to "msec":, text of the model, durations, kind, captcha (None, or: it failed).
_Table = list[tuple[str, str, list[int], str, bool | None]]


class _Phase:
    """Alternates between normal (`table` is None) and failing spells, drawn as time passes."""

    def __init__(self, start: int, tables: list[_Table], well: int, ill: int, draw: _Draw) -> None:
        self.tables, self.well, self.ill = tables, well, ill
        self.table: _Table | None = None
        # Half of the first spells end before the period, so that it opens in the midst of things.
        self.until = start + int((2.0 * draw() - 1.0) * well)

    def advance(self, now: int, draw: _Draw) -> None:
        while now >= self.until:
            if self.table is None:
                self.table = self.tables[int(draw() * len(self.tables))]
                self.until += self.ill // 30 + int(draw() * draw() * self.ill)
            else:
                self.table = None
                self.until += int((0.2 + 1.6 * draw()) * self.well)


class _Config(NamedTuple):
    lead: str  # text from "bot": to what varies in the id of a job
    make: Callable[..., str] | None  # of what varies; None for the usual form
    rest: str  # text up to "config":
    health: _Phase
    limits: _Phase
    tables: list[_Table]  # by era
    ends: list[list[str]]  # by era and tries at a captcha; empty for all but google-flow


def traffic(
    *, accounts: Sequence[str], records: int, days: float, end_ms: int, seed: int
) -> Iterator[bytes]:
    """Yield exactly `records` usage records as compact JSON lines without a newline, oldest first.

    Times are whole milliseconds since 1970 (UTC) in `[end_ms - days * 86_400_000, end_ms)`.
    The first account is the largest and uses all eleven bots; the sizes fall like Zipf's law. With
    one account the lines have no `account` key. (account, bot, timestamp, jobid) never repeats, up
    to a million records in one millisecond. Same arguments, same bytes; memory stays flat.

    Raises `ValueError` at the call for no or repeated accounts, a negative number of records, or a
    period that is empty or begins before 1970.
    """
    start = end_ms - int(days * _DAY)
    if not accounts or len(set(accounts)) != len(accounts):
        raise ValueError("accounts must name at least one account, and none twice")
    if records < 0:
        raise ValueError(f"records must not be negative: {records}")
    if not 0 <= start < end_ms:
        raise ValueError(f"the period must not be empty nor begin before 1970: {start} to {end_ms}")
    return _stream(tuple(accounts), records, start, end_ms, Random(seed).random)  # noqa: S311


def _stream(
    accounts: Sequence[str], records: int, start: int, end: int, draw: _Draw
) -> Iterator[bytes]:
    configs, sizes = _cast(accounts, start, draw)
    opens, load = _curve(start, end, draw)
    scale = load[-1] / max(records, 1)
    turns = [*(start + int((end - start) * share) for share in _ERAS), end]
    offset, step = 210_000_000 + int(draw() * 9e7), int(draw() * 1e6)
    hour, era, loaded, seen = 0, 0, -1.0, dict[int, int]()  # the first record opens the first hour
    for base in range(0, records, _BLOCK):
        # Times are drawn freely within a block only, so that they come out sorted at a flat cost.
        width = min(_BLOCK, records - base)
        block = sorted([(base + draw() * width) * scale for _ in range(width)])
        for number, at in enumerate(block, base):
            if at >= loaded:
                hour = bisect_right(load, at, hour, len(opens) - 1) - 1
                sunk, loaded, opened, closed = load[hour], load[hour + 1], *opens[hour : hour + 2]
                pace, whole = (closed - opened) / (loaded - sunk), opened - opened % _HOUR
                early, latest = opened - whole, closed - whole - 1
                year, date = f"{datetime.fromtimestamp(whole // 1000, UTC):%Y %m%d%H}".split()
            past = early + int((at - sunk) * pace)
            past = past if past < latest else latest  # `min` would take five times as long
            now = whole + past
            while now >= turns[era]:
                era += 1
            index = bisect_right(sizes, draw() * sizes[-1], 0, len(sizes) - 1)
            lead, make, rest, health, limits, tables, ends = configs[index]
            if now >= health.until:
                health.advance(now, draw)
            if now >= limits.until:
                limits.advance(now, draw)
            table = health.table or limits.table or tables[era]
            middle, tail, times, kind, failed = table[int(draw() * _SLOTS)]
            low = int(spot := draw() * _STEPS)
            msec = int(times[low] + (times[low + 1] - times[low]) * (spot - low))
            if ends:
                tries = 0 if failed is None else _TRIES[era][failed][int(draw() * 100)]
                tail += ends[era][tries]
            seq = (number * 618_033 + step) % 1_000_000  # unique among a million neighbours
            stamp = f"{date}{_MINUTES[past // 1000]}{past % 1000:03d}"
            if make is None:  # an f-string is twice as fast as `format`
                varies = f"{stamp}{seq:06d}{kind}"
            else:
                bits = f"{(number + step) * _GOLDEN % (1 << 120):030x}"
                uuid = f"{bits[:8]}-{bits[8:12]}-4{bits[12:15]}-b{bits[15:18]}-{bits[18:]}"
                if not kind:
                    # These ids tell the millisecond only, so a second one in it needs more digits.
                    kind, seen[index] = f"{seq:06d}" if seen.get(index) == now else "", now
                varies = make(year, stamp, seq, kind, offset + number * 17 + seq % 17, bits, uuid)
            yield f'{{"timestamp":{now}{lead}{varies}{rest}{middle}{msec}{tail}}}'.encode()


def _curve(start: int, end: int, draw: _Draw) -> tuple[list[int], list[float]]:
    """Where each hour of the period opens (and the end), and the load of the period before that."""
    opens, load = [start, *range(start - start % _HOUR + _HOUR, end, _HOUR), end], [0.0]
    for opened, closed in pairwise(opens):
        quiet = 0.6 if (opened // _DAY + 4) % 7 in (0, 6) else 1.0  # 1970 began on a Thursday
        growth = 1.0 + 0.35 * (opened - start) / (end - start)
        busy = _RHYTHM[opened // _HOUR % 24] * (0.88 + 0.24 * draw())
        load.append(load[-1] + busy * quiet * growth * (closed - opened) / _HOUR)
    return opens, load


def _cast(accounts: Sequence[str], start: int, draw: _Draw) -> tuple[list[_Config], list[float]]:
    """The configs of all accounts with their luck, and their cumulated shares of the traffic."""
    cast, weights, names, teams = list[_Config](), list[float](), _NAMES.split(), _TEAMS.split()
    for rank, account in enumerate(accounts):
        pick, team = int(draw() * 18), f"{teams[int(draw() * len(teams))]}{rank + 1}"
        captchas = _captchas(_SOLVERS[int(draw() * len(_SOLVERS))])
        owner = f'"account":{json.dumps(account, ensure_ascii=False)},' if len(accounts) > 1 else ""
        for name, (weight, reach, spread, style, job, codes, _, _) in _BOTS.items():
            flow, mass = name == "google-flow", weight * (0.7 + 0.6 * draw()) / (rank + 1)
            if draw() >= reach and rank > 0 and not flow:
                continue
            tables = [_table(name, strict if flow else 1.0) for strict in _STRICT]
            runs = [_table(name, 1.0, f"{code}:95") for code in codes.split()]
            limits = _Phase(start, [_table(name, 1.0, "429:84")], 8 * _HOUR, _HOUR // 2, draw)
            for j in range(many := spread if rank == 0 else 1 + int(draw() * spread)):
                email = f"{names[(pick + 7 * j) % 18]}{'.+'[j % 3 // 2]}{team}@example.com"
                area, digits = ("US", "CA", "UK")[j % 3], f"{int((0.1 + 0.9 * draw()) * 1e17)}"
                config = style.format(email=email, team=team, digits=digits, region=area)
                jobid = job.format(user=1000 + rank * 37, config=config, **_FIELDS)
                first, last = jobid.index("{"), jobid.rindex("}") + 1
                lead = f',"bot":"{name}",{owner}"jobid":"{jobid[:first]}'
                varies, rest = jobid[first:last], f'{jobid[last:]}","config":"{config}",'
                make = None if varies == "{1}{2:06d}{3}" else varies.format
                tier, sku = _PLANS[int(draw() * len(_PLANS))].split()
                plan = f',"tier":"PAYGATE_TIER_{tier}","sku":"{sku}"'
                plans = [',"tier":"","sku":""' if draw() < 0.6 else plan, plan, plan, plan]
                ends = [[solved + plan for solved in captchas] for plan in plans if flow]
                luck = _Phase(start, runs, 9 * _DAY, 22 * _HOUR, draw)
                cast.append(_Config(lead, make, rest, luck, limits, tables, ends))
                weights.append(mass * 2 * (many - j) / (many * (many + 1)))
    return cast, list(accumulate(weights))


def _captchas(solvers: str) -> list[str]:
    """The captcha fields of a record by its number of tries, none to five."""
    most = 1 if solvers == "UserProvided" else 5  # one's own token is tried only once
    tried = [(solvers.split() * 5)[: min(tries, most)] for tries in range(1, 6)]
    return ["", *(f',"captchaProviders":"{",".join(n)}","captchaRetry":{len(n)}' for n in tried)]


@cache
def _table(name: str, strict: float, run: str = "") -> _Table:
    """A bot's outcomes, each as often as it is likely; `run` stands for the usual failures."""
    outcomes, chances = _Table(), list[float]()
    usual, actions = _BOTS[name][6:]
    for path, weight, success, seconds, *models in map(str.split, actions.split("; ")):
        resource = path.split("/")[0]
        kind = "" if name == "midjourney" else _KINDS.get(resource, "video")
        kind = kind if name in ("pixverse", "ltxstudio") else kind[:1]
        fails = _odds(run or usual)
        factor = 1.0 if run else strict / 3 if resource == "images" else strict
        fails |= {code: fails[code] * factor for code in ("403", "429") if code in fails}
        shares = _odds(models[0].replace(",", " ")) if models else {"": 1.0}
        func = f"{'v2' if name in ('pixverse', 'midjourney') else 'v1'}-{name}-{resource}"
        for code, odds in {success: 100 - fsum(fails.values()), **fails}.items():
            median, phrase = _ANSWERS[int(code)]
            text = f'"endpoint":"post-{path.replace("/", "-")}","status":"{phrase}","func":"{func}"'
            width = 0.45 if code == success else 0.02 if median > 90_000 else 0.7
            times = _times(median or float(seconds) * 1000, width)
            failed = None if int(code) in _UNSOLVED else code != success
            for model, share in shares.items():
                shown = model and f',"model":"{model}"'
                outcomes.append((f'{text},"code":{code},"msec":', shown, times, kind, failed))
                chances.append(float(weight) * odds * share / fsum(shares.values()))
    sums = list(accumulate(chances))
    return [outcomes[bisect_right(sums, (i + 0.5) / _SLOTS * sums[-1])] for i in range(_SLOTS)]


@cache
def _times(median: float, width: float) -> list[int]:
    """Durations in ms at even steps of probability; log-normal, since jobs have long tails."""
    places = [NormalDist().inv_cdf((i + 0.5) / (_STEPS + 1)) for i in range(_STEPS + 1)]
    return [int(median * exp(width * place)) for place in places]


def _odds(text: str) -> dict[str, float]:
    return {key: float(odds) for key, odds in (pair.split(":") for pair in text.split())}
