"""The example of the page that defines the endpoint: records whose summary is the page's."""

from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import Any

from genmeter.clock import DAY_MS, day_start_ms
from tests.support import NOON_MS, Client, Running, job

BY_CONFIG = {
    "one@example.com": 670,
    "two@example.com": 547,
    "three@example.com": 438,
    "four@example.com": 321,
    "five@example.com": 306,
    "six@example.com": 120,
}
"""The page blanks its addresses out; the counts are the page's."""

SUMMARY: dict[str, Any] = {
    "from": "2026-02-13T00:00:03.000Z",
    "to": "2026-02-13T23:58:38.000Z",
    "time_span": "23 hours 58 minutes",
    "by_config": BY_CONFIG,
    "by_code": {
        "200": 548, "201": 796, "400": 130, "403": 684, "429": 239, "500": 3, "503": 2,
    },
    "by_endpoint": {"post-images": 1334, "post-videos": 1046, "post-videos-upscale": 22},
    "by_status": {
        "Created": 796,
        "OK": 548,
        "Forbidden": 684,
        "Too Many Requests": 239,
        "Bad Request": 130,
        "Internal Server Error": 3,
        "Service Unavailable": 2,
    },
    "success_rate": "56.0%",
    "avg_msec": 17759,
    "by_model": {
        "veo-3.1-fast-relaxed": 1032,
        "nano-banana-pro": 702,
        "imagen-4": 449,
        "nano-banana": 181,
        "veo-3.1-fast": 14,
    },
    "by_captcha_provider": {"CapSolver": 4856},
    "avg_captcha_retry": 2,
    "by_tier": {"PAYGATE_TIER_TWO": 1684, "PAYGATE_TIER_ONE": 612, "PAYGATE_TIER_NOT_PAID": 106},
    "by_sku": {"WS_ULTRA": 1430, "G1_TIER2": 254, "G1_TIER1": 612, "G1_FREEMIUM": 106},
    "lookup": {
        "tiers": {
            "PAYGATE_TIER_TWO": "Ultra $199",
            "PAYGATE_TIER_ONE": "Pro",
            "PAYGATE_TIER_NOT_PAID": "Free",
        },
        "skus": {
            "WS_ULTRA": "Workspace Ultra",
            "G1_TIER2": "Ultra $199",
            "G1_TIER1": "Pro",
            "G1_FREEMIUM": "Free",
        },
    },
}  # fmt: skip

TOTAL = 2402
CAPTCHAS = 4856


def spread(counts: Mapping[str, int]) -> Iterator[str]:
    """Each key as often as it counts, then nothing for ever."""
    return chain.from_iterable([*(repeat(key, n) for key, n in counts.items()), repeat("")])


def records() -> list[dict[str, Any]]:
    """2,402 records of 2026-02-13 with the page's counts."""
    start = day_start_ms("2026-02-13") + 3_000
    end = day_start_ms("2026-02-13") + (23 * 3600 + 58 * 60 + 38) * 1000
    fields = zip(
        *(
            spread(SUMMARY[key])
            for key in ("by_config", "by_code", "by_endpoint", "by_model", "by_tier", "by_sku")
        ),
        range(TOTAL),
        strict=False,
    )
    jobs = []
    for config, code, endpoint, model, tier, sku, n in fields:
        tries = CAPTCHAS // TOTAL + (n < CAPTCHAS % TOTAL)
        jobs.append(
            job(
                start + (end - start) * n // (TOTAL - 1),
                config=config,
                code=int(code),
                endpoint=endpoint,
                model=model,
                tier=tier,
                sku=sku,
                msec=17_759 - 500 + n % 1001,
                captchaProviders=",".join(["CapSolver"] * tries),
                captchaRetry=tries,
            )
        )
    # The last record takes what is missing to the mean.
    jobs[-1]["msec"] += 17_759 * TOTAL - sum(one["msec"] for one in jobs)
    return jobs


def test_the_summary_of_the_page(service: Running, client: Client) -> None:
    service.clock.ms = NOON_MS + DAY_MS
    jobs = records()
    assert len(jobs) == TOTAL
    client.record(*jobs)
    answer = client.stats(bot="google-flow", date="2026-02-13")
    assert list(answer) == ["bot", "date", "total", "summary", "data"]
    assert answer["total"] == TOTAL
    summary = answer["summary"]
    assert summary == SUMMARY
    assert list(summary) == list(SUMMARY)
    # by_status and by_sku have no rule of order on the page; the others are in C14's.
    for key in ("by_config", "by_code", "by_endpoint", "by_model", "by_tier"):
        assert list(summary[key]) == list(SUMMARY[key]), key


def test_the_row_of_the_page(client: Client) -> None:
    row = {
        "timestamp": "2026-02-13T10:30:00.000Z",
        "jobid": "20260213103000-user:123-bot:google-flow",
        "config": "someone@example.com",
        "endpoint": "post-images",
        "status": "OK",
        "func": "v1-google-flow-images",
        "code": 200,
        "msec": 5432,
        "model": "imagen-4",
        "captchaProviders": "CapSolver",
        "captchaRetry": 1,
        "tier": "PAYGATE_TIER_TWO",
        "sku": "WS_ULTRA",
    }
    client.record({"bot": "google-flow", **row})
    data = client.stats(bot="google-flow", date="2026-02-13")["data"]
    assert data == [row]
    assert list(data[0]) == list(row)
