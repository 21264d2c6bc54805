"""Questions about figures and rows that are refused, and answers that need not be sent again."""

import base64
import json
from typing import Final

import httpx2
import pytest

from genmeter.model.bots import ELEVEN
from tests.reference.question import Given
from tests.support import NOON_MS, Client, Running, job
from tests.world import META, QUERY, ROWS

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)

BOTH: Final = (QUERY, ROWS)
INSTANT: Final = ("a date such as", "2026-07-01T00:00:00Z", "%2B", "milliseconds since 1970")
FORMATS: Final = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}


def refusal(response: httpx2.Response, status: int) -> str:
    """Why an answer is none."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    for secret in ("Traceback", "SELECT", "DB::", "Code:", ".py"):
        assert secret not in body["error"]
    return str(body["error"])


def faults(response: httpx2.Response) -> list[str]:
    """All that is wrong with a question."""
    return refusal(response, 400).split("; ")


COMMON: Final[list[tuple[Given, tuple[str, ...]]]] = [
    ({"bot": "sora"}, ("bot", '"sora"', *ELEVEN.names)),
    ({"bot": "Kling"}, ("bot", '"Kling"', *ELEVEN.names)),
    ({"bot!": "sora"}, ("bot!", '"sora"', *ELEVEN.names)),
    ({"bot": ["all", "kling"]}, ("bot", "all")),
    ({"from": "yesterday"}, ("from", '"yesterday"', *INSTANT)),
    ({"from": "2026-02-30"}, ("from", '"2026-02-30"', *INSTANT)),
    ({"from": "2026-02-13T00:00:00"}, ("from", *INSTANT)),
    ({"from": "2026-02-13T00:00:00 01:00"}, ("from", *INSTANT)),  # a + that was not encoded
    ({"from": "2026-02-01", "to": "2026-02-32"}, ("to", '"2026-02-32"', *INSTANT)),
    ({"from": "-5"}, ("from", *INSTANT)),
    ({"from": "1" * 30}, ("from", *INSTANT)),
    ({"from": ["2026-02-01", "2026-02-02"]}, ("from", "2", "one")),
    ({"to": "2026-02-01"}, ("to", "from", "last")),
    ({"last": "24h", "from": "2026-02-01"}, ("last", "from", "to")),
    ({"last": "24h", "to": "2026-02-01"}, ("last", "from", "to")),
    *[({"last": last}, ("last", "m, h, d, w", "24h")) for last in
      ("0h", "24", "h", "-1d", "1.5h", "1y", "1H", "1 h", "99999999999d")],
    ({"from": "2026-02-02", "to": "2026-02-02"}, ("from", "before", "to")),
    ({"from": "2026-02-03", "to": "2026-02-02"}, ("from", "before", "to")),
    ({"from": "2027-01-01"}, ("from", "before", "to")),
    ({"from": "2025-01-01", "to": "2026-02-06"}, ("400 days",)),
    ({"last": "401d"}, ("400 days",)),
    *[({"timezone": zone}, ("timezone", f'"{zone}"', "Europe/Berlin")) for zone in
      ("Mars/Phobos", "europe/berlin", "+01:00", "../../etc/passwd", "/etc/localtime", "Berlin")],
    ({"timezone": ["UTC", "Europe/Berlin"]}, ("timezone", "2", "one")),
    *[({"code": code}, ("code", f'"{code}"', "0 to 999", "2xx")) for code in
      ("1000", "-1", "ok", "2x", "xx", "20x", "2xxx", "*")],
    ({"code!": "1000"}, ("code!", '"1000"', "0 to 999", "2xx")),
    *[({"captchaRetry": retry}, ("captchaRetry", f'"{retry}"', "65535", "(empty)")) for retry in
      ("65536", "-1", "one", "1*")],
    *[({name: bound}, (name, f'"{bound}"', "milliseconds")) for name in ("min_msec", "max_msec")
      for bound in ("-1", "1.5", "fast")],
    ({"min_msec": [1, 2]}, ("min_msec", "2", "one")),
    ({"format": "xml"}, ("format", '"xml"', *FORMATS)),
    ({"escape": "formulas"}, ("escape=formulas", "format=csv")),
    ({"escape": "all", "format": "csv"}, ("escape", '"all"', "formulas")),
    ({"format": ["csv", "json"]}, ("format", "2", "one")),
    ({"foo": "1"}, ("unknown", '"foo"', "timezone", "model!", "captchaProvider", "format")),
    ({"Bot": "kling"}, ("unknown", '"Bot"', "bot")),
    ({"min_msec!": "1"}, ("unknown", '"min_msec!"')),
    ({"from!": "1"}, ("unknown", '"from!"')),
    ({"model": [f"m{n}" for n in range(201)]}, ("model", "201", "200")),
]  # fmt: skip

QUERYING: Final[list[tuple[Given, tuple[str, ...]]]] = [
    *[({"metrics": name}, ("metrics", f'"{name}"', "jobs", "success_rate", "p99.9")) for name in
      ("foo", "p0", "p100", "p99.999", "P50", "p", "p-1", "p050", "Jobs", "start", "p1e1")],
    ({"metrics": [f"p{n}" for n in range(1, 32)]}, ("metrics", "31", "30")),
    *[({"group_by": name}, ("group_by", f'"{name}"', "model", "captchaProvider")) for name in
      ("nothing", "jobid", "msec", "timestamp", "captchaProviders", "-model")],
    ({"group_by": ["bot", "code", "model", "tier"]}, ("group_by", "4", "3")),
    *[({"interval": text}, ("interval", f'"{text}"', "auto", "1m", "5m", "15m", "1h", "1d", "1w",
                            "1mo")) for text in ("2h", "1M", "60", "d")],
    ({"interval": ["1h", "1d"]}, ("interval", "2", "one")),
    ({"group_by": "model", "order": "avg_msec", "metrics": "jobs"},
     ("order", '"avg_msec"', "jobs", "model")),
    ({"group_by": "model", "order": "start"}, ("order", '"start"', "jobs", "model")),
    ({"group_by": "model", "order": "bot"}, ("order", '"bot"', "jobs", "model")),
    ({"interval": "1h", "order": "--start"}, ("order", '"--start"', "start", "jobs")),
    *[({"group_by": "model", "top": top}, ("top", f'"{top}"', "1 to 1000")) for top in
      ("0", "1001", "-1", "ten", "1.0")],
    ({"top": 3}, ("top", "group_by")),
    ({"compare": "last"}, ("compare", '"last"', "previous")),
    ({"limit": 5}, ("unknown", '"limit"', "top")),
    ({"cursor": "x"}, ("unknown", '"cursor"')),
]  # fmt: skip

LISTING: Final[list[tuple[Given, tuple[str, ...]]]] = [
    *[({"limit": limit}, ("limit", f'"{limit}"', "1 to 50000")) for limit in
      ("0", "50001", "-1", "1.0", "all")],
    ({"limit": [1, 2]}, ("limit", "2", "one")),
    *[({"order": order}, ("order", f'"{order}"', "newest", "oldest")) for order in
      ("up", "-timestamp", "Newest")],
    *[({"limit": 1, "cursor": cursor}, ("cursor", "next_cursor")) for cursor in
      ("x", "é", "W10", "WzFd", "bnVsbA", "x" * 5000, "....", "W" * 4001)],
    *[({name: "1"}, ("unknown", f'"{name}"', "limit", "cursor")) for name in
      ("metrics", "group_by", "interval", "top", "compare", "offset")],
]  # fmt: skip


@pytest.mark.parametrize(
    ("paths", "given", "named"),
    [
        *[(BOTH, *case) for case in COMMON],
        *[((QUERY,), *case) for case in QUERYING],
        *[((ROWS,), *case) for case in LISTING],
    ],
)
def test_a_fault_is_named_with_what_is_allowed(
    client: Client, paths: tuple[str, ...], given: Given, named: tuple[str, ...]
) -> None:
    for path in paths:
        by_post = faults(client.http.post(path, json=given))
        assert len(by_post) == 1, by_post
        for word in named:
            assert word in by_post[0]
        assert faults(client.http.get(path, params=given)) == by_post
        assert len(by_post[0]) < 1000


@pytest.mark.parametrize("path", BOTH)
def test_several_faults_are_all_named_at_once(client: Client, path: str) -> None:
    given: Given = {
        "bot": "sora", "timezone": "Mars/Phobos", "from": "x", "to": "y", "code": "z",
        "captchaRetry": "many", "min_msec": "u", "max_msec": "v", "format": "xml", "order": "q",
        "foo": "1", "bar": "2",
    }  # fmt: skip
    more: Given = {"limit": "0"}
    if path == QUERY:
        more = {"metrics": "a", "group_by": "b", "interval": "c", "top": "d", "compare": "e"}
    found = faults(client.http.post(path, json=given | more))
    assert sorted(found) == sorted(faults(client.http.get(path, params=given | more)))
    names = [*(given | more)]
    assert len(found) == len(names) - 1  # the unknown ones are one fault
    for name in names:
        assert any(fault.startswith(name) or f'"{name}"' in fault for fault in found), name


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"bot=kling", "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 10_000, "JSON"),
        (b"[]", "object"),
        (b'"bot"', "object"),
        (b"null", "object"),
        (b'{"bot": {"is": "kling"}}', "bot must be a text, a number, or an array"),
        (b'{"bot": true}', "bot must be a text, a number, or an array"),
        (b'{"model": [["veo"]]}', "model must be a text, a number, or an array"),
        (b'{"model": ["veo", false]}', "model must be a text, a number, or an array"),
        (b'{"top": 1.5, "group_by": "bot"}', "top"),
    ],
)
def test_a_document_that_is_no_question(client: Client, body: bytes, named: str) -> None:
    for path in BOTH:
        answer = client.http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert named in faults(answer)[0]


def test_nothing_but_defaults(client: Client) -> None:
    names = ("bot", "account", "from", "last", "model", "model!", "code", "timezone", "format")
    empty: Given = dict.fromkeys(names, "")
    for path in BOTH:
        plain = client.http.get(path)
        assert plain.status_code == 200, plain.text
        assert client.http.get(path, params=empty).content == plain.content
        lists: Given = {name: [] for name in names}
        documents: list[Given] = [{}, empty, dict.fromkeys(names), lists]
        for document in documents:
            assert client.http.post(path, json=document).content == plain.content


def test_who_may_ask(service: Running, client: Client) -> None:
    writer, admin = service.client(("write",)), service.client(("admin",))
    for path in (QUERY, ROWS, META):
        bare = service.holder(None).http.get(path, params={"bot": "?"})
        assert (bare.status_code, bare.json()) == (401, {"error": "Unauthorized"})
        assert "read is needed" in refusal(writer.http.get(path), 403)
        for other in ("somebody", "*", f"{client.account}*", f"{client.account},somebody"):
            refused = refusal(client.http.get(path, params={"account": other}), 403)
            assert "admin" in refused
            assert admin.http.get(path, params={"account": other}).status_code == 200
        assert client.http.get(path, params={"account": client.account}).status_code == 200
    (fault,) = faults(client.http.get(QUERY, params={"group_by": "account"}))
    assert fault.startswith("group_by")
    assert admin.http.get(QUERY, params={"group_by": "account"}).status_code == 200


def test_other_methods(client: Client) -> None:
    for path in (QUERY, ROWS, META):
        for method in ("PUT", "DELETE", "PATCH", *(["POST"] if path == META else [])):
            response = client.http.request(method, path)
            fault = refusal(response, 405)
            allowed = {name.strip() for name in response.headers["allow"].split(",")}
            assert {"GET", "HEAD"} <= allowed
            assert ("POST" in allowed) == (path != META)
            assert all(name in fault for name in allowed)


# Formats


@pytest.mark.parametrize("path", BOTH)
def test_the_format_is_named_or_accepted(client: Client, path: str) -> None:
    client.record(job(NOON_MS))

    def given(accept: str | None = None, **params: str) -> str:
        headers = {} if accept is None else {"Accept": accept}
        response = client.http.get(path, params=params, headers=headers)
        assert response.status_code == 200, response.text
        return response.headers["content-type"].partition(";")[0]

    for name, media_type in FORMATS.items():
        assert given(media_type) == media_type
        assert given(format=name) == media_type
        assert given("application/json", format=name) == media_type
        assert given(f"image/png, {media_type};q=0.1") == media_type
        found = client.http.get(path, params={"format": name}).headers
        assert ("content-disposition" in found) == (name != "json")
        if name != "json":
            what = path.rpartition("/")[2]
            days = "2026-02-12-2026-02-13"
            file = f"genmeter-{client.account}-{what}-{days}.{name}"
            assert found["content-disposition"] == f'attachment; filename="{file}"'
    for anything in (None, "*/*", "application/*", "text/html, */*;q=0.1"):
        assert given(anything) == "application/json"
    assert given("text/*") == "text/csv"
    assert given("application/json;q=0.5, text/csv") == "text/csv"
    for nothing in ("image/png", "text/html", "application/json;q=0", "application/xml, image/*"):
        fault = refusal(client.http.get(path, headers={"Accept": nothing}), 406)
        assert all(media_type in fault for media_type in FORMATS.values())


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    ("account", "named"),
    [
        ("日本", "filename=\"genmeter-__-{}\"; filename*=UTF-8''genmeter-%E6%97%A5%E6%9C%AC-{}"),
        ('a"; x="', "filename=\"genmeter-a___x__-{}\"; filename*=UTF-8''genmeter-a_%3B%20x%3D_-{}"),
        ("a\r\nX: y", "filename=\"genmeter-a__X__y-{}\"; filename*=UTF-8''genmeter-a__X%3A%20y-{}"),
        ("../etc", "filename=\"genmeter-.._etc-{}\"; filename*=UTF-8''genmeter-.._etc-{}"),
        ("ops@a.example", 'filename="genmeter-ops@a.example-{}"'),
    ],
)
def test_a_file_is_named_safely_whatever_the_account(
    admin: Client, path: str, account: str, named: str
) -> None:
    rest = f"{path.rpartition('/')[2]}-2026-02-12-2026-02-13.csv"
    for response in (
        admin.http.get(path, params={"format": "csv", "account": account}),
        admin.http.post(path, json={"format": "csv", "account": [account]}),
    ):
        assert response.status_code == 200, response.text
        found = response.headers["content-disposition"]
        assert found == f"attachment; {named.replace('{}', rest)}"
        assert "x" not in response.headers


@pytest.mark.parametrize("path", BOTH)
def test_the_length_is_told_where_nothing_is_compressed(client: Client, path: str) -> None:
    client.record(*(job(NOON_MS - n) for n in range(50)))
    for name in FORMATS:
        params = {"format": name, "group_by": "jobid"} if path == ROWS else {"format": name}
        params.pop("group_by", None)
        plain = client.http.get(path, params=params, headers={"Accept-Encoding": "identity"})
        assert plain.headers["content-length"] == str(len(plain.content))
        packed = client.http.get(path, params=params, headers={"Accept-Encoding": "gzip"})
        assert packed.content == plain.content
        assert packed.headers["genmeter-sha256"] == plain.headers["genmeter-sha256"]


# Cursors


def test_a_cursor_belongs_to_its_question_and_its_account(service: Running, client: Client) -> None:
    client.record(*(job(NOON_MS - n) for n in range(5)))
    question: Given = {"limit": 2, "bot": "google-flow", "last": "1h"}
    cursor = client.http.get(ROWS, params=question).json()["next_cursor"]
    whole = question | {"cursor": cursor}
    assert len(client.http.get(ROWS, params=whole).json()["data"]) == 2
    assert len(client.http.get(ROWS, params=whole | {"limit": 3}).json()["data"]) == 3
    others: list[Given] = [
        {"bot": "kling"}, {"bot": "all"}, {"order": "oldest"}, {"model": "x"}, {"code!": "500"},
        {"min_msec": 1}, {"cursor": cursor[:-4]}, {"cursor": cursor[4:]},
        {"cursor": cursor.swapcase()},
    ]  # fmt: skip
    for other in others:
        (fault,) = faults(client.http.get(ROWS, params=whole | other))
        assert fault.startswith("cursor")
    stranger = service.client()
    assert faults(stranger.http.get(ROWS, params=whole))[0].startswith("cursor")


def test_a_cursor_with_another_range_is_refused(client: Client) -> None:
    client.record(*(job(NOON_MS - n) for n in range(5)))
    question: Given = {"limit": 2, "last": "1h"}
    cursor = client.http.get(ROWS, params=question).json()["next_cursor"]
    signed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    signature, content = signed[:16], json.loads(signed[16:])
    digest, start_ms, end_ms, last = content
    for start, end in ((0, end_ms), (start_ms - 1, end_ms), (-(10**17), 10**17)):
        changed = json.dumps([digest, start, end, last], separators=(",", ":")).encode()
        old = json.dumps([1, *content], separators=(",", ":")).encode()  # before they were signed
        for forged in (signature + changed, bytes(16) + changed, changed, old, signed[:16]):
            text = base64.urlsafe_b64encode(forged).decode().rstrip("=")
            (fault,) = faults(client.http.get(ROWS, params=question | {"cursor": text}))
            assert fault.startswith("cursor must be the next_cursor of a page")


# Asking again


def tag(response: httpx2.Response) -> str:
    """The tag of an answer."""
    assert response.status_code == 200, response.text
    return str(response.headers["etag"])


PATHS: Final[list[tuple[str, Given]]] = [
    (QUERY, {}),
    (QUERY, {"group_by": "model", "format": "csv"}),
    (ROWS, {}),
    (ROWS, {"limit": 1, "format": "parquet"}),
    (META, {}),
]


@pytest.mark.parametrize(("path", "params"), PATHS)
def test_an_answer_that_stays_is_not_sent_again(
    service: Running, client: Client, path: str, params: Given
) -> None:
    def ask(**headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.http.get(path, params=params, headers=named)

    tags = []
    record = job(NOON_MS - 1)
    for again in (None, record, job(NOON_MS - 2), record | {"model": "other"}, record):
        if again:
            client.record(again)
        tags.append(tag(ask()))
        assert tag(ask()) == tags[-1]
        service.client().record(job(NOON_MS))  # of somebody else
        assert tag(ask()) == tags[-1]
        listed = f'"x", {tags[-1]}, W/"y"'
        strong = tags[-1].removeprefix("W/")
        for known in (tags[-1], strong, listed, "*"):
            same = ask(If_None_Match=known)
            assert same.status_code == 304, known
            assert same.content == b""
            assert same.headers["etag"] == tags[-1]
        before = {one for one in tags if one != tags[-1]}
        for unknown in ('"x"', 'W/"y", "z"', "", tags[-1][:-2] + '"', *before):
            assert ask(If_None_Match=unknown).status_code == 200, unknown
    if path != META:  # records that are as they were before may be told by the same tag
        assert len(set(tags)) == len(tags)


def test_answers_that_differ_have_different_tags(client: Client, service: Running) -> None:
    client.record(job(NOON_MS - 1))
    asked: list[tuple[str, Given]] = [
        *PATHS, (QUERY, {"last": "2h"}), (QUERY, {"format": "ndjson"}), (QUERY, {"bot": "kling"}),
        (QUERY, {"timezone": "Europe/Berlin"}), (QUERY, {"metrics": "p50"}), (ROWS, {"limit": 1}),
        (ROWS, {"order": "oldest"}),
    ]  # fmt: skip
    tags = [tag(client.http.get(path, params=params)) for path, params in asked]
    tags += [tag(service.client().http.get(path)) for path in (QUERY, ROWS)]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize(("path", "params"), PATHS)
def test_head_tells_what_get_would(client: Client, path: str, params: Given) -> None:
    client.record(job(NOON_MS))
    found = client.http.get(path, params=params)
    head = client.http.head(path, params=params)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-type", "content-length", "genmeter-rows", "genmeter-sha256"):
        assert head.headers.get(name) == found.headers.get(name), name
    assert client.http.head(path, params={"foo": "1"}).status_code == 400
