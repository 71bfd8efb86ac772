"""Work that waits for a thread."""

import threading

from qlora_studio.services.line import Line
from tests.waiting import wait_for


def test_an_account_has_one_thread_and_others_have_theirs() -> None:
    begun: list[str] = []
    goes_on = threading.Event()

    def run(work_id: str) -> None:
        begun.append(work_id)
        goes_on.wait(10)

    line = Line(run, name="work")
    for work_id, owner in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        line.add(work_id, owner)
    wait_for(lambda: sorted(begun) == ["a1", "b1"])
    goes_on.set()
    wait_for(lambda: sorted(begun) == ["a1", "a2", "b1"] and not line._busy)


def test_what_fails_does_not_stop_the_next() -> None:
    done: list[str] = []

    def run(work_id: str) -> None:
        if work_id == "bad":
            raise ValueError
        done.append(work_id)

    line = Line(run, name="work")
    for work_id in ("bad", "good"):
        line.add(work_id, "a")
    wait_for(lambda: done == ["good"] and not line._busy)
