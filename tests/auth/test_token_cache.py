"""Looking tokens up: an answer is half a second old at the most, and nobody waits for ever (C1)."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from genmeter.auth.accounts import Token
from genmeter.auth.token_cache import Tokens
from genmeter.errors import AccountsError

KNOWN = Token(id="1", account="a", name="a", scopes=("read",), created_ms=0)


class Database:
    """A database of one token that notes what it is asked and can be held; and a clock."""

    def __init__(self) -> None:
        self.token: Token | None = KNOWN
        self.fails = False
        self.asked: list[str] = []
        self.now = 1000.0
        self.asking = threading.Semaphore(0)
        self.answering = threading.Event()
        self.answering.set()

    def find(self, text: str) -> Token | None:
        """The token when the question came, once it may answer."""
        self.asked.append(text)
        token = self.token if text == "known" else None
        self.asking.release()
        assert self.answering.wait(30)
        if self.fails:
            raise AccountsError("no")
        return token

    async def until_asked(self) -> None:
        """Return when one more question has come."""
        assert await asyncio.to_thread(self.asking.acquire, timeout=30)


def run(
    use: Callable[[Tokens, Database], Awaitable[None]], wait_s: float = 30, seconds: float = 0.5
) -> None:
    """Use tokens over a database of their own."""
    database = Database()
    with Tokens(
        database.find, seconds=seconds, wait_s=wait_s, clock=lambda: database.now
    ) as tokens:

        async def main() -> None:
            try:
                await use(tokens, database)
            finally:
                database.answering.set()

        asyncio.run(main())


def test_an_answer_is_remembered_for_half_a_second() -> None:
    async def use(tokens: Tokens, database: Database) -> None:
        assert await tokens.find("known") == KNOWN
        database.token = None
        database.now += 0.499
        assert await tokens.find("known") == KNOWN
        assert database.asked == ["known"]
        database.now += 0.001
        assert await tokens.find("known") is None
        database.token = KNOWN
        assert await tokens.find("known") is None
        assert database.asked == ["known"] * 2

    run(use)


def test_that_there_is_no_such_token_is_remembered_alike() -> None:
    async def use(tokens: Tokens, database: Database) -> None:
        for _ in range(3):
            assert await tokens.find("wrong") is None
        assert await tokens.find("known") == KNOWN
        assert database.asked == ["wrong", "known"]

    run(use)


def test_who_asks_meanwhile_shares_the_question() -> None:
    async def use(tokens: Tokens, database: Database) -> None:
        database.answering.clear()
        asking = [asyncio.create_task(tokens.find("known")) for _ in range(50)]
        await database.until_asked()
        database.answering.set()
        assert await asyncio.gather(*asking) == [KNOWN] * 50
        assert database.asked == ["known"]

    run(use)


def test_the_half_second_begins_with_the_question_not_with_the_answer() -> None:
    """An answer that was long on its way is not taken for a fresh one, nor waited for."""

    async def use(tokens: Tokens, database: Database) -> None:
        database.answering.clear()
        early = asyncio.create_task(tokens.find("known"))
        await database.until_asked()
        database.token = None
        database.now += 0.5
        late = asyncio.create_task(tokens.find("known"))
        await database.until_asked()
        database.answering.set()
        assert await early == KNOWN
        assert await late is None
        assert await tokens.find("known") is None
        assert database.asked == ["known"] * 2

    run(use)


def test_what_was_known_is_not_used_when_the_database_fails() -> None:
    async def use(tokens: Tokens, database: Database) -> None:
        assert await tokens.find("known") == KNOWN
        database.fails = True
        database.now += 0.5
        for _ in range(3):
            with pytest.raises(AccountsError, match="no"):
                await tokens.find("known")
        assert len(database.asked) == 2
        database.fails = False
        database.now += 0.5
        assert await tokens.find("known") == KNOWN

    run(use)


def test_a_database_that_is_silent_is_given_up_and_its_answer_used_when_it_comes() -> None:
    async def use(tokens: Tokens, database: Database) -> None:
        database.answering.clear()
        for text in ("known", *"abcdef"):  # more than there are threads
            with pytest.raises(AccountsError, match="does not answer in time"):
                await tokens.find(text)
        assert len(database.asked) == 4
        with pytest.raises(AccountsError, match="in time"):
            await tokens.check()
        database.answering.set()
        database.now += 0.5
        assert await asyncio.wait_for(retried(tokens), 30) == KNOWN
        await tokens.check()
        assert not {"d", "e", "f"} & set(database.asked), "nobody waits for these any more"

    async def retried(tokens: Tokens) -> Token | None:
        while True:
            try:
                return await tokens.find("known")
            except AccountsError:  # the threads were not free yet
                await asyncio.sleep(0.01)

    run(use, wait_s=0.05, seconds=0)


def test_one_who_goes_away_takes_the_answer_from_nobody() -> None:
    async def use(tokens: Tokens, database: Database) -> None:
        database.answering.clear()
        gone, stays = (asyncio.create_task(tokens.find("known")) for _ in range(2))
        await database.until_asked()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        database.answering.set()
        assert await stays == KNOWN

    run(use)


def test_a_flood_of_wrong_tokens_does_not_fill_the_memory() -> None:
    async def use(tokens: Tokens, database: Database) -> None:
        for number in range(10_500):
            await tokens.find(str(number))
        assert len(tokens._asked) <= 10_000
        assert await tokens.find("known") == KNOWN

    run(use)
