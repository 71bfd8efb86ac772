"""A killed server is replaced at once; one that ends is not, and none outlives the parent."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from qlora_studio import keeper
from tests.faults.harness import wait_for

pytestmark = pytest.mark.skipif(not keeper.can_keep(), reason="no server is kept on this system")
_PARENT = """
import os, signal, sys, time
from pathlib import Path
from qlora_studio import keeper
loaded_by = os.getpid()
def serve():
    with Path(sys.argv[1]).open("a") as told:
        print(os.getpid(), loaded_by, file=told)
    {then}
keeper._SOON_S = {soon_s}
sys.exit(keeper.keep(serve))
"""
_Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[_Start]:
    started: list[subprocess.Popen[str]] = []

    def run(then: str = "signal.pause()", soon_s: float = 0.0) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _PARENT.format(then=then, soon_s=soon_s), str(tmp_path / "told")]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for parent in started:
        with parent:
            parent.kill()


@pytest.fixture
def served_by(tmp_path: Path) -> Callable[[int], list[int]]:
    """The pids of those that have served, once there are so many."""

    def pids(n: int) -> list[int]:
        told = tmp_path / "told"
        wait_for(
            lambda: told.exists() and len(told.read_text().split()) == 2 * n, within_s=20, what=f"server {n}"
        )
        return [int(line.split()[0]) for line in told.read_text().splitlines()]

    return pids


def test_a_killed_server_is_replaced_and_nothing_is_loaded_again(
    start: _Start, served_by: Callable[[int], list[int]], tmp_path: Path
) -> None:
    parent = start()
    for n in (1, 2):
        os.kill(served_by(n)[-1], signal.SIGKILL)
    assert len(set(served_by(3))) == 3
    assert {line.split()[1] for line in (tmp_path / "told").read_text().splitlines()} == {str(parent.pid)}
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(10) == 0
    assert not psutil.pid_exists(served_by(3)[-1])
    assert "jobs have gone on" in parent.communicate()[0]


@pytest.mark.slow
def test_no_server_outlives_the_parent(start: _Start, served_by: Callable[[int], list[int]]) -> None:
    parent = start()
    (pid,) = served_by(1)
    parent.kill()
    parent.wait(10)
    wait_for(lambda: not psutil.pid_exists(pid), within_s=10, what="the server's end")


@pytest.mark.parametrize(("then", "status"), [("pass", 0), ("sys.exit(3)", 3), ("raise OSError('no')", 1)])
def test_a_server_that_ends_by_itself_is_not_replaced(
    start: _Start, served_by: Callable[[int], list[int]], then: str, status: int
) -> None:
    assert start(then).wait(10) == status
    assert len(served_by(1)) == 1


def test_one_that_is_killed_each_time_it_starts_is_given_up(
    start: _Start, served_by: Callable[[int], list[int]]
) -> None:
    parent = start("os.kill(os.getpid(), signal.SIGKILL)", soon_s=60.0)
    assert parent.wait(10) == 128 + signal.SIGKILL
    assert len(served_by(3)) == 3
    assert "Giving up" in parent.communicate()[0]


def test_ctrl_c_reaches_the_server_once(start: _Start, served_by: Callable[[int], list[int]]) -> None:
    parent = start()
    (pid,) = served_by(1)
    assert os.getpgid(pid) != os.getpgid(parent.pid), "a terminal sends it to the parent alone"
    parent.send_signal(signal.SIGINT)
    assert parent.wait(10) == 0
