"""A ClickHouse server as a process: small, on free ports, with its configuration made for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx2

from tests.servers.process import HOST, ServerProcess, free_port
from tests.support import program

ADMIN: Final = ("default", "admin-password")
"""Who may do everything: the tests themselves."""

GENMETER: Final = ("genmeter", "p&ss<word>%41:/@'+?")
"""Who may use :data:`DATABASES` and nothing else; the password is one that wants escaping."""

DATABASES: Final = ("genmeter", *(f"genmeter_{number}" for number in range(1, 100)))
"""What GENMETER may use; the server knows users only with finished lists of databases."""


class QueryError(Exception):
    """A server said no; ``code`` is ClickHouse's number of the error, 0 where it named none."""

    def __init__(self, text: str) -> None:
        super().__init__(text.strip())
        number = text.removeprefix("Code: ").split(",")[0]
        self.code = int(number) if number.isdecimal() else 0


class ClickHouse(ServerProcess):
    """One server. Alone as it is; ``write_config`` is where a cluster tells it of the others.

    ``timezone`` is the server's; nothing that it answers may depend on it.
    """

    def __init__(self, folder: Path, name: str = "clickhouse", *, timezone: str = "UTC") -> None:
        super().__init__(name, folder)
        self.timezone = timezone
        self.http_port = free_port()
        self.tcp_port = free_port()
        self.interserver_port = free_port()
        self._program = program("clickhouse-server")
        self._config = folder / "config.xml"
        self._databases = iter(DATABASES)
        # No connection is kept: its server may be gone by the next statement.
        alone = httpx2.Limits(max_keepalive_connections=0)
        self._http = httpx2.Client(base_url=self.http_url, timeout=60, limits=alone)
        self.write_config("")

    @property
    def http_url(self) -> str:
        """Where it answers over HTTP, without a slash at the end."""
        return f"http://{HOST}:{self.http_port}"

    def command(self) -> Sequence[str | Path]:
        """The server in the foreground."""
        return [self._program, f"--config-file={self._config}"]

    def answers(self) -> bool:
        """Whether it answers over HTTP."""
        try:
            return httpx2.get(f"{self.http_url}/ping", timeout=5).content == b"Ok.\n"
        except httpx2.TransportError:
            return False

    def query(
        self, sql: str, *, user: tuple[str, str] = ADMIN, database: str = "", **settings: Any
    ) -> str:
        """The answer to a statement, as text; QueryError where the server says no."""
        response = self._http.post(
            "/",
            params=settings | ({"database": database} if database else {}),
            content=sql.encode(),
            headers={"X-ClickHouse-User": user[0], "X-ClickHouse-Key": user[1]},
        )
        if response.status_code != 200:
            raise QueryError(response.text)
        return response.text

    def database(self) -> str:
        """The name of a database, new and empty, that GENMETER may use."""
        name = next(self._databases)
        self.query(f"CREATE DATABASE {name}")
        return name

    def log(self) -> str:
        """What it logged: warnings and errors."""
        path = self.folder / "server.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def write_config(self, more: str) -> None:
        """Write its configuration, with ``more`` sections; read at the next start."""
        users = self.folder / "users.xml"
        users.write_text(_users(), encoding="utf-8")
        self._config.write_text(
            f"""<yandex>
  <logger><level>warning</level><log>{self.folder}/server.log</log></logger>
  <listen_host>{HOST}</listen_host>
  <http_port>{self.http_port}</http_port>
  <tcp_port>{self.tcp_port}</tcp_port>
  <interserver_http_host>{HOST}</interserver_http_host>
  <interserver_http_port>{self.interserver_port}</interserver_http_port>
  <path>{self.folder}/data/</path>
  <tmp_path>{self.folder}/data/tmp/</tmp_path>
  <users_config>{users}</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <timezone>{self.timezone}</timezone>
  <mark_cache_size>16777216</mark_cache_size>
  <uncompressed_cache_size>16777216</uncompressed_cache_size>
  <keep_alive_timeout>3</keep_alive_timeout>
  <max_concurrent_queries>100</max_concurrent_queries>
  <shutdown_wait_unfinished>1</shutdown_wait_unfinished>
  <merge_tree>
    <zookeeper_session_expiration_check_period>1</zookeeper_session_expiration_check_period>
  </merge_tree>
{more}</yandex>
""",
            encoding="utf-8",
        )


def escape(text: str) -> str:
    """Text as the content of an XML element."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _users() -> str:
    databases = "".join(f"<database>{name}</database>" for name in DATABASES)
    return f"""<yandex>
  <profiles>
    <default>
      <max_memory_usage>2000000000</max_memory_usage>
      <background_pool_size>4</background_pool_size>
      <background_schedule_pool_size>4</background_schedule_pool_size>
      <allow_experimental_low_cardinality_type>1</allow_experimental_low_cardinality_type>
      <output_format_json_quote_64bit_integers>0</output_format_json_quote_64bit_integers>
    </default>
  </profiles>
  <quotas><default/></quotas>
  <users>
    {_user(ADMIN)}
    {_user(GENMETER, f"<allow_databases>{databases}</allow_databases>")}
  </users>
</yandex>
"""


def _user(user: tuple[str, str], more: str = "") -> str:
    name, password = user
    return (
        f"<{name}><password>{escape(password)}</password><networks><ip>{HOST}</ip></networks>"
        f"<profile>default</profile><quota>default</quota>{more}</{name}>"
    )
