"""One ClickHouse server over its HTTP interface: statements in, bytes or errors out.

It works from version 18.16 on. An old server takes a setting it does not know for an error, so each
server is first asked what it knows, and is sent no more than that.
"""

import ssl
import zlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final

import httpx2

from genmeter.config.urls import ClickHouseUrl, Secret
from genmeter.errors import EngineError, EngineLimitError, StartError
from genmeter.storage.engine.base import (
    LIMIT_CODES,
    TABLE_SETTINGS,
    Layout,
    error_code,
    settings_clause,
)

CONNECT_S: Final = 3.0
"""How long a server may take to accept a connection, in seconds."""

PROBE_S: Final = 5.0
"""How long a server may take to say how it is, in seconds."""

_BLOCK: Final = 256 * 2**10
_BROKEN: Final = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)
_GZIP: Final = 31  # what zlib calls its window for this format
_ERROR_BYTES: Final = 2000

_READ: Final = {
    # 2 is: nothing but reading, with settings of our own.
    "readonly": "2",
    "use_uncompressed_cache": "1",
    "cancel_http_readonly_queries_on_client_close": "1",
    # Only conditions on the sort key move, which equal records share: R6 stays true.
    "optimize_move_to_prewhere_if_final": "1",
    # Equal records are always of one month, so months need not be merged with each other.
    "do_not_merge_across_partitions_select_final": "1",
}
_WRITE: Final = {
    # An acknowledged insert is there: not in a buffer, and one part a month.
    "async_insert": "0",
    # A replica that knows a block by its hash need not have it: sent again it is stored again, and
    # counted once by the identity of its records (R6).
    "insert_deduplicate": "0",
    "wait_end_of_query": "1",
    "input_format_parallel_parsing": "0",
    "max_partitions_per_insert_block": "0",
}
_MAKE: Final = {"allow_experimental_low_cardinality_type": "1"}
_ALWAYS_KNOWN: Final = frozenset({"wait_end_of_query"})  # a parameter, no setting


class UnreachableError(EngineError):
    """A server did not answer: whether it did what it was told is not known."""


class RefusedError(EngineError):
    """A server said no; ``code`` is ClickHouse's number of the error, 0 where it named none."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class ExceededError(RefusedError, EngineLimitError):
    """A server ended a statement that took more memory or time than it may."""


class HttpServer:
    """The server at one of the addresses of ``url``.

    ``limits`` are settings of every SELECT, ``writing`` of every INSERT, as far as the server knows
    them. ``learn`` must have been called before anything else.
    """

    def __init__(
        self,
        client: httpx2.Client,
        url: ClickHouseUrl,
        number: int,
        *,
        limits: Mapping[str, str],
        writing: Mapping[str, str],
    ) -> None:
        host, port = url.hosts[number]
        host = f"[{host}]" if ":" in host else host
        self.name = f"{host}:{port}"
        self._client = client
        self._url = f"{'https' if url.secure else 'http'}://{self.name}/"
        self._database = url.database
        self._wanted = {
            "read": _READ | dict(limits),
            "write": _WRITE | dict(writing),
            "make": _MAKE,
        }
        self._settings: dict[str, dict[str, str]] = {}
        self.layout = Layout()

    def learn(self, cluster: str) -> int:
        """Ask the server what it is; returns its shard in ``cluster``, from 0.

        Raises StartError where it is not part of that cluster.
        """
        known = set(self.text("SELECT name FROM system.settings").split()) | _ALWAYS_KNOWN
        self._settings = {
            kind: {name: value for name, value in wanted.items() if name in known}
            for kind, wanted in self._wanted.items()
        }
        of_tables = set(self.text("SELECT name FROM system.merge_tree_settings").split())
        settings = {name: value for name, value in TABLE_SETTINGS.items() if name in of_tables}
        shard, weights = self._place(cluster) if cluster else (0, (1,))
        self.layout = Layout(
            settings=settings_clause(settings),
            cluster=cluster,
            database=self._database,
            weights=weights,
        )
        return shard

    def _place(self, cluster: str) -> tuple[int, tuple[int, ...]]:
        """The server's shard in a cluster, and the weights of all shards."""
        weights: dict[int, int] = {}
        mine = None
        for line in self.text(
            "SELECT shard_num, shard_weight, is_local FROM system.clusters "
            f"WHERE cluster = '{cluster}' ORDER BY shard_num, replica_num"
        ).splitlines():
            number, weight, is_local = map(int, line.split())
            weights[number] = weight
            if is_local:
                mine = number
        if mine is None:
            raise StartError(
                f"the server {self.name} is not in a cluster named {cluster}, as its own "
                "remote_servers has it"
            )
        return list(weights).index(mine), tuple(weights.values())

    def behind(self, table: str) -> bool:
        """Whether the server's replica of a table still lacks what others were given."""
        # A log that nothing was written to has the index 0 too.
        return self._replica(
            table,
            "is_readonly OR inserts_in_queue > 0 OR log_pointer < log_max_index "
            "OR (log_pointer = log_max_index AND log_max_index > 0)",
        )

    def read_only(self, table: str) -> bool:
        """Whether the server's replica of a table takes no inserts, from nobody."""
        return self._replica(table, "is_readonly")

    def _replica(self, table: str, condition: str) -> bool:
        found = self.text(
            "SELECT count() FROM system.replicas WHERE database = currentDatabase() "
            f"AND table = '{table}' AND ({condition})"
        )
        return int(found) > 0

    def execute(self, statement: str) -> None:
        """Run a statement that returns nothing."""
        self._post(statement.encode(), self._settings["make"])

    def fetch(self, statement: str) -> bytes:
        """The whole result of a short SELECT."""
        # The server answers when it is done, so that the status tells how it went.
        settings = self._settings["read"] | {"wait_end_of_query": "1"}
        return self._post(statement.encode(), settings)

    def insert(self, statement: str, rows: bytes) -> None:
        """Run an INSERT that ends in its format, with the rows behind it."""
        # Compressed data knows its end: a body that is cut off between two rows is not taken for
        # a whole one.
        packed = zlib.compress(rows, level=1, wbits=_GZIP)
        self._post(
            packed, self._settings["write"] | {"query": statement}, {"Content-Encoding": "gzip"}
        )

    def stream(self, statement: str) -> Generator[bytes, None, None]:
        """The result of a SELECT of one column, as it comes.

        An error after the beginning may be in the text itself, which ends then like any other:
        the caller must know what an end looks like. Newer servers break the connection off.
        """
        request = self._request(statement.encode(), self._settings["read"])
        try:
            response = self._answer(request, stream=True)
            try:
                if response.status_code != 200:
                    response.read()
                    raise self._refusal(response)
                yield from response.iter_raw(_BLOCK)
            finally:
                response.close()
        except httpx2.HTTPError as error:
            # Which tells of the statement and not of the server.
            raise EngineError(f"the server {self.name} broke off an answer: {error}") from error

    def text(self, statement: str) -> str:
        """The result of a SELECT that takes no time, or an error within ``PROBE_S``."""
        short = httpx2.Timeout(PROBE_S, connect=CONNECT_S)
        request = self._request(statement.encode(), {})
        request.extensions["timeout"] = short.as_dict()
        return self._send(request).decode()

    def _post(
        self,
        content: bytes,
        parameters: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        return self._send(self._request(content, parameters, headers))

    def _send(self, request: httpx2.Request) -> bytes:
        response = self._answer(request, stream=False)
        if response.status_code != 200:
            raise self._refusal(response)
        return response.content

    def _answer(self, request: httpx2.Request, *, stream: bool) -> httpx2.Response:
        """The beginning of an answer, or all of it; asked twice where a connection breaks.

        One that was kept may have been closed by the server just then. Every statement here can
        be run again.
        """
        try:
            try:
                return self._client.send(request, stream=stream)
            except _BROKEN:
                return self._client.send(request, stream=stream)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def _request(
        self,
        content: bytes,
        parameters: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Request:
        fixed = {"database": self._database, "default_format": "TSVRaw"}
        return self._client.build_request(
            "POST", self._url, params=fixed | dict(parameters), content=content, headers=headers
        )

    def _unreachable(self, error: httpx2.HTTPError) -> UnreachableError:
        what = str(error) or type(error).__name__
        return UnreachableError(f"the server {self.name} does not answer: {what}")

    def _refusal(self, response: httpx2.Response) -> RefusedError:
        text = response.text.strip()[:_ERROR_BYTES]
        code = error_code(text)
        kind = ExceededError if code in LIMIT_CODES else RefusedError
        return kind(f"the server {self.name}: {text or response.status_code}", code)


def client(
    url: ClickHouseUrl, password: Secret | None, ca_file: Path | None, timeout_s: float
) -> httpx2.Client:
    """Connections to all servers of ``url``, kept for the next statement."""
    verify: ssl.SSLContext | bool = True
    if url.secure and ca_file is not None:
        try:
            verify = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise StartError(f"{ca_file} holds no certificate of an authority") from error
    return httpx2.Client(
        auth=httpx2.BasicAuth(url.user, password.reveal() if password else ""),
        verify=verify,
        timeout=httpx2.Timeout(timeout_s, connect=CONNECT_S),
        limits=httpx2.Limits(
            max_connections=None, max_keepalive_connections=64, keepalive_expiry=2
        ),
        trust_env=False,
        headers={"User-Agent": "genmeter"},
    )
