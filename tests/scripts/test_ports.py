"""Ports that servers of tests keep while they are killed and started again."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from scripts import ports


def test_nobody_else_is_given_a_port_that_is_free_just_now(monkeypatch) -> None:
    monkeypatch.setattr(ports, "_RANGE", range(31_900, 32_000))
    monkeypatch.setattr(ports._dice, "sample", lambda numbers, _: list(numbers))
    with ThreadPoolExecutor(8) as pool:
        mine = list(pool.map(lambda _: ports.free_port(), range(20)))
    ask = (
        "from scripts import ports; ports._RANGE = range(31_900, 32_000); "
        "ports._dice.sample = lambda numbers, _: list(numbers); print(ports.free_port())"
    )
    theirs = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert len({*mine, int(theirs.stdout)}) == 21
