"""A job's page in a real browser, with the worker that needs no torch: live, stopped, resumed, downloaded."""

import io
import os
import re
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scripts.running import Server, axe_violations, sign_in, sign_up, watch_console
from tests.browser.desk import Desk, opened

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(own_server: Callable[..., Server], context: BrowserContext) -> Iterator[Desk]:
    with opened(own_server, context, step_s=0.1) as desk:
        yield desk


def points(page: Page) -> int:
    return int(page.locator(".live-chart").first.get_attribute("data-points") or 0)


def test_a_job_is_watched_stopped_resumed_and_downloaded(desk: Desk, context: BrowserContext, tmp_path: Path):
    job_id = desk.launch("watched", 2_000)
    page = context.new_page()
    complaints = watch_console(page)
    page.goto(f"{desk.server.base}/training")
    row = page.get_by_role("row").filter(has_text="watched")
    expect(row).to_contain_text("Running")
    row.get_by_role("link", name="watched").click()
    page.wait_for_function("() => Number(document.querySelector('.live-chart')?.dataset.points) > 12")
    before = points(page)
    page.wait_for_function(
        f"() => Number(document.querySelector('.live-chart').dataset.points) > {before} + 5"
    )
    expect(page.locator("#metric-now")).to_contain_text("%")

    page.get_by_role("button", name="Stop and keep adapter").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Stop and keep adapter").click()
    expect(page.get_by_role("link", name="Open adapter")).to_be_visible(timeout=30_000)
    expect(page.locator("#content h1")).to_contain_text("Stopped")
    assert axe_violations(page) == []

    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("The job is in the queue again")).to_be_visible()
    assert axe_violations(page) == []  # a toast is read, too
    expect(page.locator("#content h1")).to_contain_text("Running", timeout=30_000)
    search_a_busy_log(page)
    page.get_by_role("button", name="Stop and discard").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Stop and discard").click()
    expect(page.locator("#content h1")).to_contain_text("Stopped", timeout=30_000)

    with page.expect_download() as download:
        page.get_by_role("link", name="Download results").click()
    kept = tmp_path / "results.zip"
    download.value.save_as(kept)
    names = zipfile.ZipFile(io.BytesIO(kept.read_bytes())).namelist()
    assert {"adapter/adapter_model.safetensors", "metrics.csv", "worker.log"} <= set(names)
    for tab, text in (
        ("Samples", "Reference"),
        ("Logs", "/2000 loss"),
        ("Config", "max_steps: 2000"),
        ("Charts", "Machine"),
    ):
        page.get_by_role("navigation", name="Tabs").get_by_role("link", name=tab).click()
        expect(page.locator("#content")).to_contain_text(text)
        expect(page).to_have_url(f"{desk.server.base}/training/{job_id}?tab={tab.lower()}")
    assert axe_violations(page) == []
    assert complaints == []


def search_a_busy_log(page: Page) -> None:
    """What is found is looked for again though the log never rests."""
    page.get_by_role("navigation", name="Tabs").get_by_role("link", name="Logs").click()
    page.get_by_label("Search the log").fill("/2000 loss")
    said = page.locator("[data-log-state=shown]")
    expect(said).to_contain_text("found")
    for _ in range(2):
        expect(said).not_to_have_text(said.inner_text(), timeout=10_000)
    page.get_by_label("Search the log").fill("")


def test_a_chart_of_few_steps_names_each_of_them_once(desk: Desk, context: BrowserContext):
    job_id = desk.launch("short", 12)  # looked at after 10 and 12
    page = context.new_page()
    page.goto(f"{desk.server.base}/training/{job_id}")
    expect(page.locator("#content h1")).to_contain_text("Succeeded", timeout=60_000)
    expect(page.get_by_text("Characters")).to_be_visible()
    named = page.locator(".live-chart").nth(1).locator(".xtick text").all_text_contents()
    assert len(named) >= 2
    assert len(set(named)) == len(named)


@pytest.mark.fault("F2", "kill -9 the server, in an open page", "the page finds its job again, whole")
def test_a_job_outlives_its_server_and_is_shown_whole_again(
    desk: Desk, context: BrowserContext, own_server: Callable[..., Server]
):
    job_id = desk.launch("outlives", 150)
    page = context.new_page()
    page.goto(f"{desk.server.base}/training/{job_id}")
    page.wait_for_function("() => Number(document.querySelector('.live-chart')?.dataset.points) > 5")
    desk.server.kill()
    own_server(port=desk.server.port, QLORA_STUDIO_WORKER="toy")
    # The page is not touched: it finds its server again and is brought up to date.
    expect(page.locator("#content h1")).to_contain_text("Succeeded", timeout=60_000)
    page.wait_for_function("() => document.querySelector('.live-chart')?.dataset.last === '150'")
    series = desk.api.get(f"/jobs/{job_id}/metrics", params={"keys": "loss"}).json()["series"]["loss"]
    assert series["step"] == list(range(1, 151))
    assert points(page) == 150


@pytest.mark.fault("F1", "kill -9 the worker, in an open page", "killed by signal 9, and Resume, in the page")
def test_a_failure_says_what_happened_in_an_open_page(desk: Desk, context: BrowserContext):
    job_id = desk.launch("killed", 2_000)
    page = context.new_page()
    page.goto(f"{desk.server.base}/training/{job_id}")
    page.wait_for_function("() => Number(document.querySelector('.live-chart')?.dataset.points) > 12")
    pid = desk.api.get(f"/jobs/{job_id}").json()["pid"]
    os.kill(pid, signal.SIGKILL)
    alert = page.get_by_role("alert").filter(has_text="killed by signal 9")
    expect(alert).to_be_visible()
    expect(alert.get_by_role("button", name="Resume")).to_be_visible()  # there is a checkpoint by then


@pytest.mark.fault(
    "F20",
    "two tabs on a job: one closed, one put to sleep; another opened later",
    "the job goes on; each curve is complete within a second of coming back",
)
def test_a_job_needs_no_tab_and_one_that_slept_catches_up(
    desk: Desk, context: BrowserContext, record_property: Callable[[str, object], None]
):
    job_id = desk.launch("tabs", 1_000)
    pages = [context.new_page(), context.new_page()]
    for page in pages:
        page.goto(f"{desk.server.base}/training/{job_id}")
        page.wait_for_function("() => Number(document.querySelector('.live-chart')?.dataset.points) > 5")
    closed, sleeper = pages
    pid = desk.api.get(f"/jobs/{job_id}").json()["pid"]
    closed.close()
    sleeper.evaluate(
        "() => { window.beats = [Date.now()]; setInterval(() => window.beats.push(Date.now()), 50); }"
    )
    with stopped_renderers():
        asleep = time.monotonic()
        reached = wait_for_step(desk, job_id, newest_step(desk, job_id) + 60)
        slept_s = time.monotonic() - asleep
    awake_s = seconds_until_complete(sleeper, reached)
    stood_still_s = sleeper.evaluate(
        "() => Math.max(...window.beats.slice(1).map((at, i) => at - window.beats[i])) / 1000"
    )
    assert stood_still_s > 0.9 * slept_s, "its timers ran"
    reached = wait_for_step(desk, job_id, reached + 5)
    later = context.new_page()
    later.goto(f"{desk.server.base}/training/{job_id}")
    opened_s = seconds_until_complete(later, reached)
    slept = f"complete {awake_s:.1f} s after {slept_s:.0f} s of sleep"
    record_property("saw", f"{slept}, {opened_s:.1f} s after opening")
    assert awake_s < 1.5
    assert opened_s < 1.5
    assert desk.api.get(f"/jobs/{job_id}").json()["pid"] == pid
    desk.api.post(f"/jobs/{job_id}/stop", json={"mode": "kill"}).raise_for_status()


@contextmanager
def stopped_renderers() -> Iterator[None]:
    """This browser's pages standing still, as on a laptop that sleeps.

    Chromium's own freezing passes over a page that is visible, and in a headless one they all are.
    """
    renderers = [
        process
        for process in psutil.Process().children(recursive=True)
        if "--type=renderer" in process.cmdline()
    ]
    assert renderers
    for process in renderers:
        process.suspend()
    try:
        yield
    finally:
        for process in renderers:
            process.resume()


def newest_step(desk: Desk, job_id: str) -> int:
    return int(desk.api.get(f"/jobs/{job_id}").json()["progress"]["step"])


def wait_for_step(desk: Desk, job_id: str, step: int) -> int:
    """Wait until the job has come that far; returns how far it is."""
    deadline = time.monotonic() + 60
    while (reached := newest_step(desk, job_id)) < step:
        assert time.monotonic() < deadline, f"step {step}"
        time.sleep(0.1)
    return reached


def seconds_until_complete(page: Page, step: int) -> float:
    """Wait until a page's curve has every point up to a step."""
    started = time.monotonic()
    page.wait_for_function(
        """step => {
          const { points, last } = document.querySelector('.live-chart')?.dataset ?? {};
          return Number(last) >= step && points === last;
        }""",
        arg=step,
    )
    return time.monotonic() - started


def test_charts_are_zoomed_logs_searched_and_jobs_compared(desk: Desk, context: BrowserContext):
    first, second = desk.launch("first of two", 30), desk.launch("second of two", 30)
    page = context.new_page()
    complaints = watch_console(page)
    page.goto(f"{desk.server.base}/training/{second}?tab=charts")
    expect(page.locator("#content h1")).to_contain_text("Succeeded", timeout=60_000)
    page.wait_for_function("() => document.querySelector('.live-chart')?.dataset.points === '30'")
    page.get_by_role("button", name="Epoch", exact=True).click()
    page.wait_for_function("() => document.querySelector('.live-chart').dataset.over === 'epoch'")
    box = page.locator(".live-chart").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    page.wait_for_function("() => document.querySelector('.live-chart').dataset.detail === 'yes'")
    assert 3 < points(page) < 20
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.995, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    # A part that reaches the end of a part doesn't go on to the run's end.
    page.wait_for_function("() => Number(document.querySelector('.live-chart').dataset.points) < 7")
    page.reload()
    page.wait_for_function("() => document.querySelector('.live-chart')?.dataset.over === 'epoch'")
    zoom_by_keyboard(page)

    page.get_by_role("navigation", name="Tabs").get_by_role("link", name="Logs").click()
    expect(page.get_by_role("log")).to_contain_text("step 30/30")
    page.get_by_label("Search the log").fill("STEP 7/")
    expect(page.get_by_text("1 line found")).to_be_visible()
    page.get_by_label("Search the log").fill("zebra")
    expect(page.get_by_text("Nothing found")).to_be_visible()

    page.goto(f"{desk.server.base}/training")
    page.get_by_label("Choose first of two").click()
    expect(page.get_by_text("Choose one more to compare")).to_be_visible()
    page.get_by_label("Choose second of two").click()
    page.get_by_role("link", name="Compare").click()
    expect(page).to_have_url(re.compile(f"/training/compare\\?ids={first}(,|%2C){second}"))
    expect(page.get_by_role("table")).to_contain_text("Word error rate")
    page.wait_for_function("() => document.querySelector('.live-chart')?.dataset.points === '30'")
    expect(page.get_by_text("The same clips, worst first")).to_be_visible()
    assert axe_violations(page) == []
    assert complaints == []


def zoom_by_keyboard(page: Page) -> None:
    buttons = page.get_by_role("group", name="Zoom: Loss")
    page.get_by_role("button", name="Step", exact=True).click()
    page.wait_for_function("() => document.querySelector('.live-chart').dataset.points === '30'")
    buttons.get_by_role("button", name="Zoom in").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.live-chart').dataset.last === '22'")
    assert 10 < points(page) < 20
    for name, last in (("Show later", "30"), ("Show earlier", "22"), ("Show the whole run", "30")):
        buttons.get_by_role("button", name=name).press("Enter")
        page.wait_for_function("end => document.querySelector('.live-chart').dataset.last === end", arg=last)
    page.wait_for_function("() => document.querySelector('.live-chart').dataset.points === '30'")


def test_a_strangers_job_is_not_there(desk: Desk, context: BrowserContext):
    job_id = desk.launch("mine", 5)
    context.clear_cookies()
    sign_in(context, desk.server, sign_up(desk.server, "mallory"))
    page = context.new_page()
    page.goto(f"{desk.server.base}/training/{job_id}")
    expect(page.get_by_text("There is no such job.")).to_be_visible()
    expect(page.get_by_text("mine", exact=True)).to_have_count(0)
