"""How many connections there may be, in all and from one address. Pure bookkeeping.

A connection without a request under way is idle, also while it has sent part of a request's head.
When there are too many, the one that has been idle longest gives way to a new one, so idle and
very slow clients cannot keep others out.
"""

from typing import Final, Protocol

import msgspec

PROXIES: Final = frozenset({"127.0.0.1", "::1"})
"""Addresses of reverse proxies: the clients behind them share the address, so it has no limit.

The same addresses may name the client in ``X-Forwarded-For``.
"""


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """``most`` connections in all, ``per_address`` from one address, 0 for no limit.

    ``head_seconds`` is how long a request's line and headers may take.
    """

    most: int
    per_address: int
    head_seconds: float


class Closable(Protocol):
    """A connection that can give way."""

    def give_way(self) -> None:
        """Close at once."""


class Connections:
    """The open connections of a server, by address, and which of them are idle."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
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
        if 0 < self.limits.per_address <= ours and address not in PROXIES:
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
