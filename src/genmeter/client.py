"""Asking a service over HTTP: figures, records, and files of both. Needs nothing of the server.

::

    with Client("http://127.0.0.1:8000", token) as client:
        client.query(bot="google-flow", last="7d", metrics=["jobs", "p95"], group_by="model")
        for row in client.rows(last="24h", code="429"):
            ...
        client.export("july.parquet", "rows", from_="2026-07-01", to="2026-08-01")

Parameters are those of the API, by name or in a mapping. ``from_`` stands for ``from``, which is a
word of Python's, and ``not_model`` for ``model!``. A value is a text, a number, a date, a moment
with an offset, or a sequence of them; None and an empty sequence are not given. A comma is part of
a text: several values are a sequence.

Every method raises an error of :mod:`genmeter.errors`: the service's own with its message,
NoAnswerError where there is no service, BrokenAnswerError where an answer is not what was sent.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Generator, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Self, get_args
from urllib.parse import urlencode

import httpx2
import msgspec

from genmeter import __version__
from genmeter.config import urls
from genmeter.errors import (
    BadRequestError,
    BrokenAnswerError,
    ForbiddenError,
    GenmeterError,
    LimitError,
    NoAnswerError,
    NotAcceptableError,
    UnauthorizedError,
    UnavailableError,
)

__all__ = ["FORMATS", "Body", "Client", "Format", "Resource", "Saved", "format_of"]

Resource = Literal["query", "rows"]
Format = Literal["json", "ndjson", "csv", "parquet", "arrow"]
Values = Any
"""A text, number, date or aware datetime, a sequence of them, or None."""

FORMATS: Final[tuple[Format, ...]] = get_args(Format)
"""What a file may hold, by the ending of its name."""

LONGEST: Final = 6000
"""A query of more characters than this is posted: servers and proxies limit addresses."""

CONNECT_S: Final = 5.0
READ_S: Final = 300.0
"""How long the service may take to begin an answer, or to send its next piece, in seconds."""

_BLOCK: Final = 256 * 2**10
_REFUSALS: Final[tuple[type[GenmeterError], ...]] = (
    BadRequestError,
    ForbiddenError,
    LimitError,
    NotAcceptableError,
    UnavailableError,
)


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What an export has written: the body as it was sent, compared with its checksum."""

    rows: int
    size: int
    sha256: str


class Body:
    """The body of an answer as it comes; its end is reached only if it is what was sent.

    ``rows`` is how many the service says there are. At the end of the blocks the checksum is
    compared and, where lines are rows, their number.
    """

    def __init__(self, response: httpx2.Response, format_: Format) -> None:
        self._response = response
        self._format = format_
        try:
            self.rows = int(response.headers["Genmeter-Rows"])
            self.sha256 = response.headers["Genmeter-SHA256"].strip().lower()
        except (KeyError, ValueError) as error:
            raise BrokenAnswerError(
                "the answer does not say what it holds; is something else than genmeter there?"
            ) from error
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        """The blocks. Raises BrokenAnswerError in place of the end."""
        digest = hashlib.sha256()
        lines = 0
        try:
            for block in self._response.iter_bytes(_BLOCK):
                digest.update(block)
                self.size += len(block)
                lines += block.count(b"\n")
                yield block
        except httpx2.DecodingError as error:
            raise BrokenAnswerError(f"the answer is not what was sent: {error}") from error
        except httpx2.HTTPError as error:
            raise BrokenAnswerError(f"the answer was cut off: {error}") from error
        if digest.hexdigest() != self.sha256:
            raise BrokenAnswerError(
                f"the answer is not what was sent: {self.size:,} bytes with another checksum"
            )
        if self._format in ("ndjson", "csv"):
            found = lines - (self._format == "csv")
            if found != self.rows:
                raise BrokenAnswerError(
                    f"the answer is not whole: {found:,} rows of {self.rows:,} came"
                )


class Client:
    """Somebody with a token who asks the service at ``url``; ends with :meth:`close`.

    Raises ValueError where the address or the token cannot be one.
    """

    def __init__(self, url: str, token: str) -> None:
        try:
            self._url = urls.service(url)
        except ValueError as error:
            raise ValueError(f"url must be {error}") from error
        if not urls.TOKEN.fullmatch(token):
            raise ValueError("a token is printable ASCII without blanks")
        self._http = httpx2.Client(
            headers={
                "Authorization": f"Bearer {token}",
                "User-Agent": f"genmeter/{__version__}",
            },
            timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
        )

    def query(self, parameters: Mapping[str, Values] | None = None, /, **more: Values) -> Any:
        """Figures: the answer of ``/v2/account/stats/query``, a dict."""
        return self._document("query", parameters, more)

    def page(self, parameters: Mapping[str, Values] | None = None, /, **more: Values) -> Any:
        """Records, as one answer of ``/v2/account/stats/rows``, a dict with ``next_cursor``."""
        return self._document("rows", parameters, more)

    def rows(
        self, parameters: Mapping[str, Values] | None = None, /, **more: Values
    ) -> Generator[dict[str, Any], None, None]:
        """Records one by one, all of one moment, however many; with ``limit`` no more than that.

        An answer that is cut off raises after the records that came.
        """
        with self.stream("rows", "ndjson", parameters, **more) as body:
            rest = b""
            for block in body:
                *lines, rest = (rest + block).split(b"\n")
                yield from map(_decoded, lines)

    def meta(self, account: Values = None) -> Any:
        """What there is to ask about: the answer of ``/v2/account/stats/meta``, a dict."""
        with self._answer("meta", _texts({"account": account})) as response:
            try:
                body = response.read()
            except httpx2.HTTPError as error:
                raise BrokenAnswerError(f"the answer was cut off: {error}") from error
            return _decoded(body)

    def export(
        self,
        target: str | Path | BinaryIO,
        resource: Resource,
        format_: Format | None = None,
        parameters: Mapping[str, Values] | None = None,
        /,
        **more: Values,
    ) -> Saved:
        """Write an answer into a file, in a format or the one that the file's name ends in.

        A file of that name is replaced, once all has come and is what was sent; until then, and
        where it fails, it stays as it was. An open file is written as it comes.

        Raises OSError where the file cannot be written.
        """
        if isinstance(target, str | Path):
            target = Path(target)
            format_ = format_ or format_of(target)
            with self.stream(resource, format_, parameters, **more) as body:
                with _replaced(target) as file:
                    file.writelines(body)
                return Saved(rows=body.rows, size=body.size, sha256=body.sha256)
        if format_ is None:
            raise ValueError("an open file needs a format")
        with self.stream(resource, format_, parameters, **more) as body:
            target.writelines(body)
            return Saved(rows=body.rows, size=body.size, sha256=body.sha256)

    @contextlib.contextmanager
    def stream(
        self,
        resource: Resource,
        format_: Format,
        parameters: Mapping[str, Values] | None = None,
        /,
        **more: Values,
    ) -> Iterator[Body]:
        """The bytes of an answer in a format, as they come."""
        asked = _texts({**(parameters or {}), **more, "format": format_})
        with self._answer(resource, asked) as response:
            yield Body(response, format_)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _document(
        self,
        resource: Resource,
        parameters: Mapping[str, Values] | None,
        more: Mapping[str, Values],
    ) -> Any:
        with self.stream(resource, "json", parameters, **more) as body:
            return _decoded(b"".join(body))

    @contextlib.contextmanager
    def _answer(
        self, resource: str, parameters: Mapping[str, list[str]]
    ) -> Iterator[httpx2.Response]:
        """An answer with status 200 whose body has not been read."""
        url = f"{self._url}/v2/account/stats/{resource}"
        query = urlencode([(k, _escaped(v)) for k, values in parameters.items() for v in values])
        if len(query) > LONGEST:
            request = self._http.build_request("POST", url, json=dict(parameters))
        else:
            request = self._http.build_request("GET", f"{url}?{query}" if query else url)
        try:
            response = self._http.send(request, stream=True)
        except httpx2.HTTPError as error:
            what = str(error) or type(error).__name__
            raise NoAnswerError(f"{self._url} does not answer: {what}") from error
        with contextlib.closing(response):
            if response.status_code != 200:
                raise self._refusal(response)
            yield response

    def _refusal(self, response: httpx2.Response) -> GenmeterError:
        """What the service said instead of answering, as the error it is."""
        status = response.status_code
        try:
            message = msgspec.json.decode(response.read(), type=dict[str, str])["error"]
        except (httpx2.HTTPError, msgspec.MsgspecError, KeyError):
            message = f"{self._url} answered {status} {response.reason_phrase}".rstrip()
        if status == UnauthorizedError.status:
            return UnauthorizedError()
        kind = next((kind for kind in _REFUSALS if kind.status == status), GenmeterError)
        error = kind(message)
        error.status = status
        if (wait := response.headers.get("Retry-After", "")).isdecimal():
            error.retry_after = int(wait)
        return error


def format_of(path: Path) -> Format:
    """The format that a file's name ends in. Raises ValueError naming what it may be."""
    ending = path.suffix.removeprefix(".").lower()
    for format_ in FORMATS:
        if ending == format_:
            return format_
    raise ValueError("a name that ends in " + ", ".join(f".{format_}" for format_ in FORMATS))


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write that gets its name at the end, or is gone where something went wrong."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{path} is there and is no file")
    # Beside it, since only there a rename is one step.
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except ValueError as error:
        raise BrokenAnswerError(
            "the answer is not JSON; is something else than genmeter there?"
        ) from error


def _texts(parameters: Mapping[str, Values]) -> dict[str, list[str]]:
    """Parameters by the API's names, their values as it reads them; those not given left out."""
    texts = {}
    for name, value in parameters.items():
        name = name.removesuffix("_")
        if name.startswith("not_"):
            name = name.removeprefix("not_") + "!"
        several = value if isinstance(value, list | tuple | set | frozenset) else [value]
        if found := [_text(name, one) for one in several if one is not None]:
            texts[name] = found
    return texts


def _text(name: str, value: object) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{name} needs a moment with an offset, not {value}")
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"{name} cannot be {value!r}")


def _escaped(text: str) -> str:
    r"""A value for an address, where a comma separates values unless a ``\`` is before it."""
    escaped = ""
    chars = iter(text)
    for char in chars:
        if char == "\\":
            escaped += char + next(chars, "")
        else:
            escaped += "\\," if char == "," else char
    return escaped
