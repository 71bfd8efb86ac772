"""P5: opening a run of a million points, beside TensorBoard in the same Chromium; the spikes shown.

    python -m benchmarks.p5_open_million

One curve of a million points with 20 planted spikes, in a job's page and in TensorBoard's scalars, each
server started and warmed once; then the pages are opened in turn. A page counts as open when its curve has
been painted. TensorBoard thins a curve to 1,000 points by chance unless it is told to keep all of them, so it
is measured both ways. Spikes are counted in what each chart draws: of the whole, and in zooms, for which
TensorBoard asks its server nothing more; two less than a pixel apart look like one, whoever draws them. With
all points its page may never be painted: it is tried once, and where it fails that is said in place of its
times.
Ends with 1 above the floor: slower than the faster TensorBoard, or a spike missing.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import TimeoutError as TooSlow

FLOOR, AIM = 1.0, 0.1
ROUNDS = 5
N_SPIKES = 20
SPIKE = 9.0
ZOOMS = ((0.0, 1.0), (0.1, 0.6), (0.25, 0.35), (0.5, 0.52), (0.9, 1.0))  # parts of the curve
PATIENCE_S = 60.0  # for TensorBoard with all points
KEYS = {
    "ours": "ours",
    "clicked": "ours, by a click in the list",
    "thinned": "TensorBoard, 1,000 points",
    "whole": "TensorBoard, all points",
}

# Tells when the page's curve has been painted: in the frame after the one that drew it. TensorBoard's parts
# are in shadow roots.
_WATCH = """
(() => {
  const find = (root, wanted) => {
    const found = root.querySelector?.(wanted);
    if (found) return found;
    for (const one of root.querySelectorAll?.("*") ?? []) {
      const inside = one.shadowRoot && find(one.shadowRoot, wanted);
      if (inside) return inside;
    }
    return null;
  };
  const isDrawn = () => {
    if (Number(document.querySelector(".live-chart")?.dataset.points) > 0) return true;
    const line = find(document, "g.render-area path.line");
    return (line?.getAttribute("d")?.length ?? 0) > 200;
  };
  const look = () => {
    if (!isDrawn()) return requestAnimationFrame(look);
    requestAnimationFrame(() => setTimeout(() => { window.drawnAt = performance.now(); }, 0));
  };
  requestAnimationFrame(look);
})();
"""


_ABSENT = f"{f'did not draw in {PATIENCE_S:.0f} s':>28}"
_DRAWN = """
() => {
  const [curve] = document.querySelector(".live-chart").data;
  return [[...curve.x], [...curve.y]];
}
"""

_SHOWN_PART = """
() => {
  const { range, _length } = document.querySelector(".live-chart")._fullLayout.xaxis;
  return [...range, _length];
}
"""


def main() -> int:
    """Measure both and print every figure."""
    parser = argparse.ArgumentParser(description="P5: opening a million points, beside TensorBoard")
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    values, spikes = _curve(options.points)
    with tempfile.TemporaryDirectory() as name:
        times, shown = _measure(Path(name), values, spikes, options.rounds)
    print(f"P5 on {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{options.points:,} points, milliseconds from navigation to the painted curve")
    print("round " + "".join(f"{label:>28}" for label in KEYS.values()))
    for i in range(options.rounds):
        print(f"{i + 1:5d} " + "".join(f"{one[i]:28.0f}" if one else _ABSENT for one in times.values()))
    medians = {key: statistics.median(one) for key, one in times.items() if one}
    print("median" + "".join(f"{medians[key]:28.0f}" if key in medians else _ABSENT for key in KEYS))
    print("spikes shown of those planted, in parts of the curve:")
    for part, planted, found in shown:
        row = ", ".join(f"{KEYS[key]} {n}" for key, n in found.items() if key in medians)
        print(f"  {part[0]:4.0%} to {part[1]:4.0%}: {planted:2d} planted; {row}")
    ratios = {key: medians["ours"] / median for key, median in medians.items() if key in ("thinned", "whole")}
    for mine in ("ours", "clicked"):
        rows = ", ".join(f"{medians[mine] / medians[key]:.2f} to {KEYS[key]}" for key in ratios)
        print(f"{KEYS[mine]}: {rows}; floor {FLOOR}, aim {AIM}")
    is_complete = all(found["ours"] == planted for _, planted, found in shown)
    return 0 if ratios["thinned"] <= FLOOR and is_complete else 1


def _curve(n: int) -> tuple[np.ndarray, list[int]]:
    """A falling loss with noise, and where its spikes are."""
    random = np.random.default_rng(7)
    values = 3 * np.exp(-np.arange(n) / (n / 3)) + random.normal(0, 0.05, n)
    spikes = sorted(int(i) for i in random.choice(np.arange(n // 100, n), N_SPIKES, replace=False))
    values[spikes] = SPIKE
    return values, spikes


def _measure(
    folder: Path, values: np.ndarray, spikes: list[int], n_rounds: int
) -> tuple[dict[str, list[float]], list[tuple[tuple[float, float], int, dict[str, int]]]]:
    os.environ |= {"QLORA_STUDIO_SLOTS": "0", "QLORA_STUDIO_DATA": str(folder / "studio")}
    from scripts.ports import free_port
    from scripts.running import chromium, sign_in, sign_up, start_server

    _write_events(folder / "events", values)
    server = start_server(folder / "studio")
    try:
        token = sign_up(server, "bench")
        job_id = _store(values)
        ports = {"thinned": free_port(), "whole": free_port()}
        pages = {"ours": f"{server.base}/training/{job_id}?tab=charts"}
        pages |= {key: f"http://localhost:{port}/#scalars" for key, port in ports.items()}
        all_points = f"scalars={len(values)}"  # its data server takes 0 for none
        with (
            _tensorboard(folder / "events", ports["thinned"]),
            _tensorboard(folder / "events", ports["whole"], "--samples_per_plugin", all_points),
        ):
            drawn = {key: _wait_for_all_points(port, len(values)) for key, port in ports.items()}
            with chromium() as browser:  # one of its own: a page that hangs may hold the browser up
                if not _is_drawn(browser.new_context(), pages["whole"]):
                    del pages["whole"]
            with chromium() as browser:
                context = browser.new_context(viewport={"width": 1280, "height": 860})
                sign_in(context, server, token)
                context.add_init_script(_WATCH)
                for address in pages.values():
                    _open(context, address)  # warms the browser's cache for all alike
                times: dict[str, list[float]] = {key: [] for key in KEYS}
                for _ in range(n_rounds):
                    for key, address in pages.items():
                        times[key].append(_open(context, address))
                    times["clicked"].append(_click(context, f"{server.base}/training", job_id))
                shown = _count_spikes(context, pages["ours"], len(values), spikes, drawn)
    finally:
        server.stop()
    return times, shown


# -- the same curve in both --------------------------------------------------------------------------------


def _write_events(folder: Path, values: np.ndarray) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder), max_queue_size=10_000)
    for step, value in enumerate(values.tolist()):
        summary = Summary(value=[Summary.Value(tag="loss", simple_value=value)])
        writer.add_event(Event(wall_time=1e9 + step, step=step, summary=summary))
    writer.close()


def _store(values: np.ndarray) -> str:
    """Store a job that has ended, with the curve, for the only user."""
    from sqlmodel import select

    from qlora_studio.contracts.enums import JobStatus
    from qlora_studio.db.engine import read, write
    from qlora_studio.db.models import User
    from qlora_studio.jobs.metrics import MetricsWriter, sequence
    from qlora_studio.services import jobs
    from qlora_studio.storage import layout
    from tests.jobs.workbench import make_dataset, make_model, make_spec

    with read() as session:
        user = session.exec(select(User)).one()
    with write() as session:
        dataset, model = make_dataset(session, user), make_model(session, user)
    with write() as session:
        job = jobs.submit(session, actor=user, spec=make_spec(dataset, model))
        job.status, job.step, job.total_steps = JobStatus.SUCCEEDED, len(values), len(values)
        job.epoch = 10.0
        session.add(job)
    writer = MetricsWriter(layout.run_path(job.id) / "metrics")
    for first in range(0, len(values), 10_000):
        part = enumerate(values[first : first + 10_000].tolist(), start=first)
        writer.append({"loss": [(sequence(1, i + 1), i, 1e9 + i, value) for i, value in part]})
    return str(job.id)


@contextmanager
def _tensorboard(folder: Path, port: int, *options: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--reload_interval", "1", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_all_points(port: int, n: int) -> list[tuple[int, float]]:
    """Wait until TensorBoard has read its file; return the points (step, value) that it gives its page."""
    address = f"http://localhost:{port}/data/plugin/scalars/scalars"
    deadline, last = time.monotonic() + 600, None
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(address, params={"run": ".", "tag": "loss"}, timeout=120).raise_for_status()
            points = [(int(step), float(value)) for _, step, value in answer.json()]
            if points[-1][0] >= n - 1:
                return points
        except (httpx.HTTPError, ValueError, IndexError) as error:  # it is starting, or has read nothing yet
            last = error
        time.sleep(3)
    raise RuntimeError("TensorBoard does not give the curve") from last


# -- in the browser ----------------------------------------------------------------------------------------


def _is_drawn(context: Any, address: str) -> bool:
    """Whether the page is painted while one would still wait for it."""
    context.add_init_script(_WATCH)
    page = context.new_page()
    try:
        page.goto(address, wait_until="commit")
        page.wait_for_function("() => window.drawnAt", timeout=1000 * PATIENCE_S)
    except TooSlow:
        return False
    return True


def _open(context: Any, address: str) -> float:
    """Open a page of its own; return milliseconds from navigation to the painted curve."""
    page = context.new_page()
    try:
        page.goto(address, wait_until="commit")
        page.wait_for_function("() => window.drawnAt", timeout=120_000)
        return float(page.evaluate("() => window.drawnAt"))
    finally:
        page.close()


def _click(context: Any, address: str, job_id: str) -> float:
    """Open a job from the list of jobs; return milliseconds from the click to the painted curve."""
    page = context.new_page()
    try:
        page.goto(address)
        link = page.locator(f'a[href*="/training/{job_id}"]:visible').first
        link.wait_for()
        page.evaluate(
            "() => addEventListener('click', () => { window.clickedAt = performance.now(); }, true)"
        )
        link.click()
        page.wait_for_function("() => window.drawnAt", timeout=120_000)
        return float(page.evaluate("() => window.drawnAt - window.clickedAt"))
    finally:
        page.close()


def _count_spikes(
    context: Any, address: str, n: int, spikes: list[int], drawn: dict[str, list[tuple[int, float]]]
) -> list[tuple[tuple[float, float], int, dict[str, int]]]:
    """Zoom into parts of the curve and count the spikes drawn there."""
    page = context.new_page()
    page.goto(address, wait_until="commit")
    page.wait_for_function("() => window.drawnAt")
    rows = []
    for part in ZOOMS:
        if part != (0.0, 1.0):
            _zoom(page, part[0] * n, part[1] * n)
        low, high, width = page.evaluate(_SHOWN_PART)
        planted, pixel = [spike for spike in spikes if low <= spike <= high], (high - low) / width
        points = page.evaluate(_DRAWN)
        found = {"ours": _n_shown(planted, zip(*points, strict=True), pixel)}
        found |= {key: _n_shown(planted, drawn[key], pixel) for key in drawn}
        rows.append((part, len(planted), found))
    page.close()
    return rows


def _zoom(page: Any, low: float, high: float) -> None:
    """Zoom into a part, as dragging over it does, and wait until its detail is drawn."""
    page.evaluate(
        """([low, high]) => {
          const chart = document.querySelector(".live-chart");
          chart.dataset.detail = "";
          chart.emit("plotly_relayout", { "xaxis.range[0]": low, "xaxis.range[1]": high });
        }""",
        [low, high],
    )
    page.wait_for_function("() => document.querySelector('.live-chart').dataset.detail === 'yes'")


def _n_shown(planted: list[int], points: Any, pixel: float) -> int:
    """How many of the spikes have a point of their height less than a pixel (in steps) from their place."""
    tops = [step for step, value in points if value == SPIKE]
    return sum(any(abs(step - spike) < pixel for step in tops) for spike in planted)


if __name__ == "__main__":
    sys.exit(main())
