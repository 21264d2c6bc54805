"""Every error genmeter raises on purpose, drawn as a tree.

::

    GenmeterError                    500   exit 1
    ├── BadRequestError              400           what a client sent is wrong
    ├── UnauthorizedError            401           no token, or not a valid one (C1)
    ├── ForbiddenError               403           a valid token without the right
    ├── NotFoundError                404           there is no such thing
    ├── NotAcceptableError           406           no format that the client would take
    ├── TooSlowError                 408           a body that does not arrive in time
    ├── TooLargeError                413           a body over the limit (R1)
    ├── UnsupportedMediaError        415           a content type or coding nobody asked for
    ├── LimitError                   422           a query past a limit; the message names it
    ├── TooManyError                 429           more requests than a client may send
    ├── UnavailableError             503           the service cannot do it now; try again
    │   ├── EngineError                            the engine refused or failed a statement
    │   │   └── EngineLimitError                   it took more memory or time than it may
    │   ├── AccountsError                          the accounts database does not answer
    │   ├── WriteError                             the INSERT that held these records failed (R5)
    │   ├── QueueFullError                         the writer's queue has no room (R7)
    │   └── SpoolFullError                         the disk has no room to buffer a response
    ├── NoAnswerError                              on the client's side: the service is not there
    ├── BrokenAnswerError                          the same: an answer is not what was sent
    └── StartError                         exit 2  the service cannot start as it was told to
        ├── SettingsError                          settings that are wrong, all of them at once
        ├── FolderBusyError                        another process has the data folder open
        └── NewerSchemaError                       the data folder is from a later version

``status`` is the HTTP status an error becomes, ``exit_code`` the exit code of a command that
ends with it, ``retry_after`` the seconds a client should wait. The message is for people: it says
what was wrong, where, and what is allowed (C20), and never holds SQL, a stack trace or a path.
The text of an :class:`EngineError` comes from the engine and goes to the log only.
"""

from collections.abc import Sequence


class GenmeterError(Exception):
    """Anything genmeter raises on purpose."""

    status = 500
    exit_code = 1
    retry_after: int | None = None


class BadRequestError(GenmeterError):
    """What a client sent is wrong. ``faults`` has one text for each fault, the message all."""

    status = 400

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


class UnauthorizedError(GenmeterError):
    """There is no token, or not a valid one (C1). The message is the page's."""

    status = 401

    def __init__(self) -> None:
        super().__init__("Unauthorized")


class ForbiddenError(GenmeterError):
    """The token is valid but may not do this."""

    status = 403


class NotFoundError(GenmeterError):
    """There is nothing of that name."""

    status = 404


class TooSlowError(GenmeterError):
    """The body did not arrive in time."""

    status = 408


class TooLargeError(GenmeterError):
    """The body is over the limit, before or after decompression (R1)."""

    status = 413


class UnsupportedMediaError(GenmeterError):
    """The content type or content coding is not one of those the route takes (R1)."""

    status = 415


class NotAcceptableError(GenmeterError):
    """The client takes none of the formats there are."""

    status = 406


class LimitError(GenmeterError):
    """A query past a limit of time, memory or size; the message names the limit."""

    status = 422


class TooManyError(GenmeterError):
    """More requests than a client may send; ``retry_after`` says when it may again."""

    status = 429

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnavailableError(GenmeterError):
    """The service cannot do it now; the same request may succeed later."""

    status = 503
    retry_after: int | None = 1


class EngineError(UnavailableError):
    """The engine refused or failed a statement. Its own words are for the log, not for clients."""


class EngineLimitError(EngineError):
    """A statement took more memory or time than the engine gives to one."""


class DamageError(UnavailableError):
    """Acknowledged records are missing or cannot be read; the operator has to decide."""


class AccountsError(UnavailableError):
    """The accounts database does not answer, so nobody can say whose a token is."""


class WriteError(UnavailableError):
    """The INSERT that held these records failed; none of them is acknowledged (R5)."""


class QueueFullError(UnavailableError):
    """The writer's queue has no room; nothing of the request was stored (R7)."""


class SpoolFullError(UnavailableError):
    """The disk has no room to buffer a response."""

    retry_after = 10


class BusyError(UnavailableError):
    """Other work held the service up for so long that it gave up on this."""


class NoAnswerError(GenmeterError):
    """No answer came: whether there is a service at the address is not known."""


class BrokenAnswerError(GenmeterError):
    """An answer was cut off, altered on its way, or is not the service's."""


class StartError(GenmeterError):
    """The service cannot start as it was told to; the message is one clear line."""

    exit_code = 2


class SettingsError(StartError):
    """Settings that are wrong, all of them at once.

    ``faults`` holds one line for each.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class FolderBusyError(StartError):
    """Another process has the data folder open."""


class NewerSchemaError(StartError):
    """The data folder was written by a later version of genmeter."""
