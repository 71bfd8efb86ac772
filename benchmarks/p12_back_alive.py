"""P12: from `kill -9` of the server until its job is shown live again, against a blank app's cold start.

    python -m benchmarks.p12_back_alive

The killed server is replaced by the parent that keeps it. Its job is shown in a tab that was open all the
time, and in one that is opened as soon as the server answers; beside that, the parent is killed too and all
is started anew. The blank app is started as a process, and opened as soon as it answers. All in turns and in
the same Chromium. Ours is live when a chart shows a step that the worker made after the kill; the blank one
when its page shows a value that came over the websocket. Ends with 1 if the open tab is above the floor.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

Times = tuple[float, float]  # until live, until it answers
FLOOR = 1.3
AIM = 1.05
ROUNDS = 9
STEP_S = 0.05
_ANSWERS_WITHIN_S = 60.0


def main() -> int:
    """Measure a few rounds in turns and print them."""
    from benchmarks import blank_reflex
    from scripts.ports import free_port
    from scripts.running import ROOT

    blank = ROOT / ".cache/blank_reflex"
    port = blank_reflex.build(blank, port=free_port())
    with tempfile.TemporaryDirectory() as folder:
        rounds = _measure(Path(folder), blank, port)
    print(f"P12 on {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("seconds until live, and until the server answers")
    print("round   open tab   answers   new tab   answers   all anew   answers   blank   answers   ratio")
    for i, row in enumerate(rounds, start=1):
        (tab, tab_up), (new, new_up), (anew, anew_up), (cold, cold_up) = row
        ours = f"{i:5d} {tab:10.2f} {tab_up:9.2f} {new:9.2f} {new_up:9.2f} {anew:10.2f} {anew_up:9.2f}"
        print(f"{ours} {cold:7.2f} {cold_up:9.2f} {tab / cold:7.2f}")
    tab, new, anew, cold = (statistics.median(row[side][0] for row in rounds) for side in range(4))
    print(f"all killed and started anew ÷ cold start of a blank app: {anew / cold:.2f}")
    print(f"killed to live in a new tab ÷ cold start of a blank app: {new / cold:.2f}")
    print(f"killed to live in the open tab ÷ the same: {tab / cold:.2f}; floor {FLOOR}, aim {AIM}")
    return 0 if tab / cold <= FLOOR else 1


def _measure(folder: Path, blank: Path, blank_port: int) -> list[tuple[Times, Times, Times, Times]]:
    os.environ |= {"QLORA_STUDIO_WORKER": "toy", "QLORA_STUDIO_TOY_STEP_S": str(STEP_S)}
    os.environ["QLORA_STUDIO_DATA"] = str(folder)
    from scripts.running import chromium, sign_in, sign_up, start_server

    server = start_server(folder)
    try:
        token = sign_up(server, "bench")
        job_id = _launch()
        with chromium() as browser:
            context = browser.new_context(viewport={"width": 1280, "height": 860})
            sign_in(context, server, token)
            page = context.new_page()
            page.goto(f"{server.base}/training/{job_id}")
            _wait_for_step(page, 5)
            rounds = []
            for _ in range(ROUNDS):
                tab = _stay(page, server, job_id)
                page.close()
                killed = _come_back(context, server, job_id, server.serving.kill)
                anew = _come_back(context, server, job_id, lambda: _start_anew(server, folder))
                rounds.append((tab, killed, anew, _cold_start(browser, blank, blank_port)))
                page = context.new_page()
                page.goto(f"{server.base}/training/{job_id}")
                _wait_for_step(page, _newest_step(job_id))
    finally:
        _end_job(folder, job_id)
        server.stop()
    return rounds


def _launch() -> str:
    """Queue a long job of the only user; its dataset and model need no files for this worker."""
    from sqlmodel import select

    from qlora_studio.db.engine import read, write
    from qlora_studio.db.models import User
    from qlora_studio.services import jobs
    from tests.jobs.workbench import make_dataset, make_model, make_spec

    with read() as session:
        user = session.exec(select(User)).one()
    with write() as session:
        dataset, model = make_dataset(session, user), make_model(session, user)
    with write() as session:
        spec = make_spec(dataset, model, optimization={"max_steps": 100_000})
        return jobs.submit(session, actor=user, spec=spec).id


def _stay(page: Any, server: Any, job_id: str) -> Times:
    """Seconds from the kill to a live chart in an open tab, and to the first answer."""
    killed_at = time.monotonic()
    server.serving.kill()
    step = _newest_step(job_id)
    up_s = _wait_for_answer(server.base) - killed_at
    _wait_for_step(page, step)
    return time.monotonic() - killed_at, up_s


def _come_back(context: Any, server: Any, job_id: str, kill: Callable[[], None]) -> Times:
    """Seconds from the kill to a live page, and to the first answer."""
    killed_at = time.monotonic()
    kill()
    step = _newest_step(job_id)
    up_s = _wait_for_answer(server.base) - killed_at
    page = context.new_page()
    page.goto(f"{server.base}/training/{job_id}", wait_until="commit")
    _wait_for_step(page, step)
    live_s = time.monotonic() - killed_at
    page.close()
    return live_s, up_s


def _start_anew(server: Any, folder: Path) -> None:
    server.kill()
    server.process = _start([sys.executable, "-m", "qlora_studio.serve"], folder, server.port)


def _cold_start(browser: Any, blank: Path, port: int) -> Times:
    """Seconds from the start of a blank app to its live page, and to its first answer."""
    from benchmarks import blank_reflex

    started_at = time.monotonic()
    process = _start(blank_reflex.command(blank, port), blank, port)
    try:
        base = f"http://localhost:{port}"
        up_s = _wait_for_answer(base) - started_at
        page = browser.new_page()
        page.goto(base, wait_until="commit")
        page.wait_for_function("() => document.querySelector('#said')?.textContent === 'alive'")
        live_s = time.monotonic() - started_at
        page.close()
    finally:
        process.kill()
        process.wait()
    return live_s, up_s


def _start(command: list[str], folder: Path, port: int) -> subprocess.Popen[bytes]:
    from scripts.running import ROOT

    with (folder / "bench.log").open("ab") as log:
        env = os.environ | {"QLORA_STUDIO_PORT": str(port)}
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)


def _wait_for_answer(base: str) -> float:
    """Wait until a page is answered, or where to sign in for it; returns when that was."""
    deadline = time.monotonic() + _ANSWERS_WITHIN_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(base, timeout=2).status_code < 400:
                return time.monotonic()
        except httpx.HTTPError:
            time.sleep(0.02)
    raise RuntimeError(f"{base} did not answer")


def _wait_for_step(page: Any, step: int) -> None:
    """Wait until a chart shows a step after this one."""
    page.wait_for_function(
        "after => Number(document.querySelector('.live-chart')?.dataset.last) > after",
        arg=step,
        timeout=60_000,
    )


def _newest_step(job_id: str) -> int:
    from qlora_studio.jobs import metrics
    from qlora_studio.storage import layout

    last = metrics.last_value(layout.run_path(job_id) / "metrics", "loss")
    return last[0] if last else 0


def _end_job(folder: Path, job_id: str) -> None:
    """End the worker, server or not."""
    (folder / "runs" / job_id / "attempt-1" / "stop.json").write_text('{"mode": "kill"}')
    deadline = time.monotonic() + 10
    while not (folder / "runs" / job_id / "attempt-1" / "exit.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
