"""How many connections there may be, in all and from one address. Pure bookkeeping.

A connection without a request under way is idle, also while it has sent part of a request's head.
When there are too many, the one that has been idle longest gives way to a new one, so idle and
very slow clients cannot keep others out.
"""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Protocol

import msgspec


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """``most`` connections in all, ``per_address`` from one address, 0 for no limit.

    ``proxies`` are networks whose addresses have no limit: all clients of a proxy share its own.
    ``head_seconds`` is how long a request's line and headers may take, ``stall_seconds`` how long
    a client may read nothing.
    """

    most: int
    per_address: int
    proxies: Sequence[str] = ()
    head_seconds: float
    stall_seconds: float = 60


class Closable(Protocol):
    """A connection that can give way."""

    def give_way(self) -> None:
        """Close at once."""


class Connections:
    """The open connections of a server, by address, and which of them are idle."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._proxies = tuple(map(ip_network, limits.proxies))
        self.lingering = 0
        """Refused connections that are still open; they are not counted otherwise."""
        self._open = 0
        self._by_address: dict[str, int] = {}
        # In the order in which they became idle.
        self._idle: dict[Closable, None] = {}

    def __len__(self) -> int:
        return self._open

    def admit(self, connection: Closable, address: str) -> int | None:
        """Count a new connection; the status to refuse it with where there are too many.

        429 says that the address has too many, 503 that all are busy. An admitted connection is
        idle, and :meth:`forget` must be called when it ends.
        """
        ours = self._by_address.get(address, 0)
        if 0 < self.limits.per_address <= ours and not self._is_proxy(address):
            return 429
        if 0 < self.limits.most <= self._open:
            longest = next(iter(self._idle), None)
            if longest is None:
                return 503
            del self._idle[longest]
            longest.give_way()
        self._open += 1
        self._by_address[address] = ours + 1
        self._idle[connection] = None
        return None

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)

    def forget(self, connection: Closable, address: str) -> None:
        """A connection that was admitted has ended."""
        self._idle.pop(connection, None)
        self._open -= 1
        ours = self._by_address[address] - 1
        if ours:
            self._by_address[address] = ours
        else:
            del self._by_address[address]

    def busy(self, connection: Closable) -> None:
        """A request is under way on it."""
        self._idle.pop(connection, None)

    def idle(self, connection: Closable) -> None:
        """Its last request has been answered."""
        self._idle[connection] = None
