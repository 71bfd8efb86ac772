"""The warm child that draws: started once, ended when idle, replaced when it hangs or crashes."""

import sys
import textwrap
import threading
import time

import psutil
import pytest

from qlora_studio.core.errors import InvalidInput, StudioError, TooManyTries
from qlora_studio.services import rendering
from qlora_studio.services.rendering import Renderer

MOODY_CHILD = textwrap.dedent(
    """
    import base64, json, os, signal, sys, time
    print('{"ready": true}', flush=True)
    for line in sys.stdin:
        mood = json.loads(line)["mood"]
        if mood == "crash": os.kill(os.getpid(), signal.SIGSEGV)
        if mood == "hang": time.sleep(60)
        if mood == "slow": time.sleep(0.3)
        if mood == "refuse": print('{"reason": "no"}', flush=True); continue
        if mood == "nonsense": print('[1]', flush=True); continue
        print(json.dumps({"content": base64.b64encode(str(os.getpid()).encode()).decode()}), flush=True)
    """
)


def renderer(**options) -> Renderer:
    return Renderer([sys.executable, "-c", MOODY_CHILD], **options)


def until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_one_child_answers_many_and_ends_when_idle():
    ours = renderer(idle_s=0.3)
    pid = int(ours.render({"mood": "well"}))
    assert int(ours.render({"mood": "well"})) == pid
    until(lambda: not psutil.pid_exists(pid))
    assert int(ours.render({"mood": "well"})) != pid


@pytest.mark.parametrize("mood", ["crash", "hang", "nonsense"])
@pytest.mark.slow
def test_a_recording_that_breaks_the_child_costs_itself_only(mood):
    ours = renderer(limit_s=2.0 if mood == "hang" else 30.0, idle_s=0.5)
    first = ours.render({"mood": "well"})
    with pytest.raises(InvalidInput, match="can't be read"):
        ours.render({"mood": mood})
    assert ours.render({"mood": "well"}) != first, "a fresh child took over"


def test_a_refusal_is_told_and_keeps_the_child():
    ours = renderer(idle_s=0.5)
    first = ours.render({"mood": "well"})
    with pytest.raises(InvalidInput, match="no"):
        ours.render({"mood": "refuse"})
    assert ours.render({"mood": "well"}) == first


@pytest.mark.slow
def test_too_many_at_once_are_asked_to_come_back():
    ours, outcomes = renderer(max_waiting=2, idle_s=0.5), []

    def ask() -> None:
        try:
            outcomes.append(ours.render({"mood": "slow"}))
        except TooManyTries:
            outcomes.append(b"")

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 12
    assert 1 <= sum(bool(outcome) for outcome in outcomes) <= 4


def test_a_child_that_cannot_start_is_said():
    with pytest.raises(StudioError, match="can't be read now"):
        Renderer(["/no/such/program"], idle_s=0.1).render({"mood": "well"})


def test_only_the_pictures_looked_at_last_are_kept(tmp_path, monkeypatch):
    import os

    monkeypatch.setattr(rendering, "MAX_KEPT", 10)
    for number in range(11):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b"x")
        os.utime(path, (number, number))
    rendering._prune(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {str(number) for number in range(2, 11)}
