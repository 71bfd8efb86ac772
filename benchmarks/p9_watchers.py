"""P9: how many tabs watch a job live, against a bare Reflex counter; and a click beside a thousand idle tabs.

    python -m benchmarks.p9_watchers [ROUNDS]

A watcher is a tab on the page of a job that writes a loss each second; the counter's tab is told a new
number each second by a background task of its own, all of them at the same moment as all watchers of a job
are, and does nothing else. More and more tabs are opened
until the time from writing to hearing has a p95 above 200 ms. Both sides run the same client, on the same
cores. Ends with 1 below the floor.
"""

import asyncio
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FLOOR, AIM = 0.5, 0.9
LIMIT_S = 0.2
FIRST, GROWTH, MOST = 20, 1.25, 2000
SETTLE_S, MEASURE_S = 3.0, 6.0
MOST_STEPS = 100_000  # of a job that is watched: more than the measurement lasts
N_IDLE, N_ACTIVE, CLICKS_S = 1000, 50, 20.0

_COUNTER = """import asyncio
import time

import reflex as rx


class Counter(rx.State):
    at: float = 0.0

    @rx.event(background=True)
    async def count(self):
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            async with self:
                self.at = time.time()

    @rx.event
    async def click(self):
        self.at = time.time()


@rx.page(route="/", on_load=Counter.count)
def index() -> rx.Component:
    return rx.el.main(rx.el.p(Counter.at))


app = rx.App()
"""
# All tabs are one person's here, who may not have so many, nor click so fast.
_UNBOUND = {"QLORA_STUDIO_MAX_SOCKETS": "5000", "QLORA_STUDIO_EVENTS_PER_S": "1000"}
_COUNTED = re.compile(r'"at_rx_state_":([\d.]+)')
_PLOTTED = re.compile(r'"loss":\{[^}]*"t":\[[^\]]*?([\d.]+)\]')


def main() -> int:
    """Alternate both sides and print what each held."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(f"P9 on {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            bare.append(_bare(Path(folder) / f"bare{number}"))
            ours.append(_studio(Path(folder) / f"studio{number}"))
            print(f"round {number + 1}: {ours[-1]} watchers of a job, {bare[-1]} counters", flush=True)
        ratio = statistics.median(ours) / statistics.median(bare)
        _click_beside_idle(Path(folder))
    print(f"watchers held at p95 under 200 ms: {ratio:.2f} of a bare counter's; floor {FLOOR}, aim {AIM}")
    return 0 if ratio >= FLOOR else 1


def _bare(folder: Path) -> int:
    with _BareServer(folder) as server:
        return asyncio.run(_ramp("counter", server.base, {}, {"path": "/"}, _COUNTED))


def _studio(folder: Path) -> int:
    from benchmarks.p8_line_to_pixel import launch
    from scripts.running import sign_up, start_server
    from tests.databases import forget_engine

    os.environ |= {"QLORA_STUDIO_WORKER": "toy", "QLORA_STUDIO_TOY_STEP_S": "1"}
    os.environ["QLORA_STUDIO_DATA"] = str(folder)
    server = start_server(folder, **_UNBOUND)
    try:
        token = sign_up(server, "bench")
        cookie = {f"studio_session_{server.port}": token}
        forget_engine()  # each round has a folder of its own
        job_id = launch(MOST_STEPS)
        page = {"path": f"/training/{job_id}", "route": "/training/[job_id]", "ids": {"job_id": job_id}}
        held = asyncio.run(_ramp("watcher", server.base, cookie, page, _PLOTTED))
        _end(server.base, token, job_id)
        return held
    finally:
        server.stop()


def _end(base: str, token: str, job_id: str) -> None:
    """End the job, which would outlive its server."""
    import httpx

    headers = {"Authorization": f"Bearer {token}"}
    httpx.post(f"{base}/api/v1/jobs/{job_id}/stop", json={"mode": "kill"}, headers=headers).raise_for_status()


async def _ramp(
    name: str, base: str, cookies: dict[str, str], page: dict[str, Any], written: re.Pattern[str]
) -> int:
    """Open tabs of a page until they hear too late; return how many did in time."""
    from benchmarks.many_tabs import Tab, session

    late: list[float] = []

    def heard(frame: str) -> None:
        if found := written.search(frame):
            late.append(time.time() - float(found[1]))

    held, tabs = 0, []
    async with session(cookies) as client:
        wanted = FIRST
        while wanted <= MOST:
            while len(tabs) < wanted:
                tabs.append(await Tab(client, base, f"tab-{len(tabs)}", heard=heard, **page).open())
                await asyncio.sleep(0.01)
            await asyncio.sleep(SETTLE_S)
            late.clear()
            await asyncio.sleep(MEASURE_S)
            p95 = _p95(late)
            n_per_tab = len(late) / wanted / MEASURE_S
            print(
                f"  {wanted:5d} {name}s: p95 {1000 * p95:4.0f} ms, {n_per_tab:.2f} heard a second", flush=True
            )
            if p95 > LIMIT_S or n_per_tab < 0.7:
                break
            held = wanted
            wanted = round(wanted * GROWTH)
        await asyncio.gather(*(tab.close() for tab in tabs))
    return held


def _click_beside_idle(folder: Path) -> None:
    """A thousand tabs that do nothing, and fifty that open a list again and again; both sides."""
    from scripts.running import sign_up, start_server

    with _BareServer(folder / "idle-bare") as bare:
        click = ("reflex___state____state.blank___blank____counter.click", "at_rx_state_")
        bare_s = asyncio.run(_click(bare.base, {}, "/", *click))
    data = folder / "idle-studio"
    server = start_server(data, **_UNBOUND)
    try:
        cookie = {f"studio_session_{server.port}": sign_up(server, "bench")}
        click = (
            "reflex___state____state.qlora_studio___state___datasets____datasets_state.load",
            "datasets_state",
        )
        ours_s = asyncio.run(_click(server.base, cookie, "/datasets", *click))
        megabytes = server.serving.memory_info().rss / 1e6
    finally:
        server.stop()
    print(
        f"{N_IDLE} idle tabs, {N_ACTIVE} that click once a second, p95 of a click: {1000 * ours_s:.0f} ms",
        end="",
    )
    print(f"; a bare app's {1000 * bare_s:.0f} ms; the studio's server then had {megabytes:.0f} MB")


async def _click(base: str, cookies: dict[str, str], path: str, handler: str, answer: str) -> float:
    from benchmarks.many_tabs import Tab, session

    took: list[float] = []
    async with session(cookies) as client:
        idle = []
        for number in range(N_IDLE):
            idle.append(await Tab(client, base, f"idle-{number}", path=path).open())
            await asyncio.sleep(0.01)
        clicks: dict[str, Any] = {"path": path, "handler": handler, "answer": answer, "took": took}
        await asyncio.gather(*(_active(client, base, n, **clicks) for n in range(N_ACTIVE)))
        await asyncio.gather(*(tab.close() for tab in idle))
    return _p95(took)


async def _active(
    client: Any, base: str, number: int, *, path: str, handler: str, answer: str, took: list[float]
) -> None:
    """One tab that clicks about once a second and waits for each answer."""
    from benchmarks.many_tabs import Tab

    answered = asyncio.Event()
    tab = Tab(
        client, base, f"active-{number}", path=path, heard=lambda f: answered.set() if answer in f else None
    )
    await tab.open()
    await asyncio.sleep(3)
    wait = random.Random(number)
    deadline = time.monotonic() + CLICKS_S
    while time.monotonic() < deadline:
        await asyncio.sleep(wait.uniform(0.5, 1.5))
        answered.clear()
        started = time.monotonic()
        await tab.send(handler)
        await asyncio.wait_for(answered.wait(), 30)
        took.append(time.monotonic() - started)
    await tab.close()


class _BareServer:
    """The counter, served like the studio, without pages: only its websocket is used."""

    def __init__(self, folder: Path) -> None:
        from scripts.ports import free_port

        self._folder, self._port = folder, free_port()

    @property
    def base(self) -> str:
        return f"http://localhost:{self._port}"

    def __enter__(self) -> "_BareServer":
        from benchmarks import blank_reflex

        blank_reflex.write(self._folder, port=self._port, app=_COUNTER)
        command = blank_reflex.command(self._folder, self._port)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _wait(self) -> None:
        import httpx

        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{self.base}/ping", timeout=2)
                return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise RuntimeError("the bare app did not answer")


def _p95(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] if ordered else float("inf")


if __name__ == "__main__":
    sys.exit(main())
