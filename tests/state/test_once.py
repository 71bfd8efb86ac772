"""What many tabs look at is read once."""

import asyncio
import threading
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor

from qlora_studio.state.once import AskedTogether, OnceAStamp


def test_a_stamp_is_read_once_and_another_one_anew() -> None:
    once: OnceAStamp[str] = OnceAStamp()
    reads: list[str] = []

    def read(text: str) -> str:
        reads.append(text)
        return text

    assert [once.get("job", 1, lambda: read("a")), once.get("job", 1, lambda: read("b"))] == ["a", "a"]
    assert [once.peek(*what) for what in (("job", 1), ("job", 2), ("other", 1))] == ["a", None, None]
    assert once.get("job", 2, lambda: read("c")) == "c"
    assert once.get("other", 2, lambda: read("d")) == "d"
    assert once.get("job", 2, lambda: read("e"), anew=True) == "e"
    assert once.get("job", 2, lambda: read("f")) == "e", "what was read anew is known to all"
    assert [once.get("job", None, lambda: read("g")), once.get("job", None, lambda: read("h"))] == ["g", "h"]
    assert reads == list("acdegh")


def test_who_comes_while_it_is_read_waits_for_that_reading() -> None:
    once: OnceAStamp[int] = OnceAStamp()
    is_reading, may_end, reads = threading.Event(), threading.Event(), []

    def read() -> int:
        reads.append(1)
        is_reading.set()
        assert may_end.wait(10)
        return len(reads)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(once.get, "job", 1, read)
        assert is_reading.wait(10)
        others = [pool.submit(once.get, "job", 1, read) for _ in range(3)]
        may_end.set()
        assert {each.result(10) for each in (first, *others)} == {1}


def test_the_longest_unused_is_forgotten() -> None:
    once: OnceAStamp[int] = OnceAStamp(most=2)
    for key in ("a", "b", "a", "c"):
        once.get(key, 1, lambda: 7)
    assert [once.peek(key, 1) for key in "abc"] == [7, None, 7]


def test_a_reading_that_fails_is_tried_again() -> None:
    once: OnceAStamp[int] = OnceAStamp()

    def fail() -> int:
        raise OSError

    for _ in range(2):
        try:
            once.get("job", 1, fail)
        except OSError:
            continue
        raise AssertionError
    assert once.get("job", 1, lambda: 7) == 7


async def test_what_is_asked_at_the_same_moment_is_read_together_and_nothing_is_remembered() -> None:
    reads: list[Set[str]] = []

    def read(keys: Set[str]) -> dict[str, int]:
        reads.append(keys)
        return {key: len(reads) for key in keys}

    together = AskedTogether(read)
    assert await asyncio.gather(*(together.ask(key) for key in "abba")) == [1, 1, 1, 1]
    assert reads == [{"a", "b"}]
    assert await together.ask("a") == 2


async def test_who_asks_while_it_is_read_is_answered_by_the_next_reading() -> None:
    is_reading, may_end, reads = threading.Event(), threading.Event(), []

    def read(keys: Set[str]) -> dict[str, int]:
        reads.append(keys)
        is_reading.set()
        assert may_end.wait(10)
        return dict.fromkeys(keys, len(reads))

    together = AskedTogether(read)
    first = asyncio.create_task(together.ask("a"))
    assert await asyncio.to_thread(is_reading.wait, 10)
    others = [asyncio.create_task(together.ask(key)) for key in "ab"]
    await asyncio.sleep(0)
    others[1].cancel()  # its tab has gone; the other's answer comes all the same
    may_end.set()
    assert [await first, await others[0]] == [1, 2]
    assert reads == [{"a"}, {"a", "b"}]


async def test_a_reading_that_fails_fails_for_all_who_asked_and_for_nobody_else() -> None:
    failing = True

    def read(keys: Set[str]) -> dict[str, bool]:
        if failing:
            raise RuntimeError("busy")
        return dict.fromkeys(keys, True)

    together = AskedTogether(read)
    answers = await asyncio.gather(together.ask("a"), together.ask("b"), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["busy", "busy"]
    failing = False
    assert await together.ask("a")
