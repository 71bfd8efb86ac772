"""Around one run, in a real browser: its curves, a job that follows it, and a second try after a failure."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scripts.running import Server, axe_violations, watch_console
from tests.browser.desk import Desk, opened

pytestmark = pytest.mark.browser
N_STEPS = 40


@pytest.fixture
def desk(own_server: Callable[..., Server], context: BrowserContext) -> Iterator[Desk]:
    """The job called “hungry” runs out of memory."""
    with opened(own_server, context, step_s=0.02, QLORA_STUDIO_TOY_FAIL="hungry:oom_cuda@5") as desk:
        yield desk


def drawn(page: Page, chart: int = 0) -> dict[str, Any]:
    """What plotly has drawn: the traces' values and the kinds of axes."""
    return (
        page.locator(".live-chart")
        .nth(chart)
        .evaluate(
            """node => ({
          traces: node.data.map(({ y, opacity }) => ({ y: [...y], opacity: opacity ?? 1 })),
          scale: node._fullLayout.yaxis.type,
          title: node.querySelector(".hoverlayer .legendtitletext")?.textContent ?? "",
        })"""
        )
    )


def averaged(values: list[float], *, weight: float) -> list[float]:
    """The exponential moving average without the bias of its first values, as in Adam's moments."""
    found, total, norm = [], 0.0, 0.0
    for value in values:
        total, norm = weight * total + (1 - weight) * value, weight * norm + (1 - weight)
        found.append(total / norm)
    return found


def test_curves_are_smoothed_scaled_and_pointed_at_together(desk: Desk, context: BrowserContext) -> None:
    job_id = desk.launch("smooth", N_STEPS)
    page = context.new_page()
    page.set_viewport_size({"width": 1280, "height": 1600})
    complaints = watch_console(page)
    page.goto(f"{desk.server.base}/training/{job_id}?tab=charts")
    expect(page.locator("#content h1")).to_contain_text("Succeeded", timeout=60_000)
    whole = f"() => document.querySelector('.live-chart')?.dataset.points === '{N_STEPS}'"
    page.wait_for_function(whole)
    plain, held_out = drawn(page)["traces"]

    page.get_by_label("Smoothing").fill("0.9")
    page.wait_for_function("() => document.querySelector('.live-chart').data.length === 3")
    measured, smoothed, few = drawn(page)["traces"]
    assert few == held_out, "points that are few are not smoothed"
    assert measured["y"] == plain["y"], "what was measured stays there"
    assert measured["opacity"] < 0.5 < smoothed["opacity"]
    assert smoothed["y"] == pytest.approx(averaged(plain["y"], weight=0.9))
    page.reload()
    page.wait_for_function("() => document.querySelector('.live-chart')?.data?.length === 3")
    page.get_by_label("Smoothing").fill("0")
    page.wait_for_function("() => document.querySelector('.live-chart').data.length === 2")
    assert drawn(page)["traces"] == [plain, held_out]

    page.get_by_label("Log scale").check()
    page.wait_for_function("() => document.querySelector('.live-chart')._fullLayout.yaxis.type === 'log'")
    kinds = [drawn(page, i)["scale"] for i in range(page.locator(".live-chart").count())]
    assert "linear" in kinds, "shares and bytes keep theirs"
    page.get_by_label("Log scale").uncheck()
    page.wait_for_function("() => document.querySelector('.live-chart')._fullLayout.yaxis.type === 'linear'")

    point_at(page, share=0.5)
    page.wait_for_function("() => document.querySelectorAll('.hoverlayer .legendtitletext').length > 1")
    titles = [title for i in range(len(kinds)) if (title := drawn(page, i)["title"])]
    assert re.fullmatch(r"Step \d+", titles[0])
    assert titles.count(titles[0]) > 1, titles
    page.mouse.move(2, 2)
    page.wait_for_function("() => !document.querySelector('.hoverlayer .legendtitletext')")
    assert axe_violations(page) == []
    assert complaints == []


def point_at(page: Page, *, share: float) -> None:
    """Put the pointer into the first chart, so far to the right."""
    box = page.locator(".live-chart").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * share - 5, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2, steps=3)


def axis(page: Page) -> dict[str, Any]:
    """What the first chart's first curve is drawn over."""
    return page.locator(".live-chart").first.evaluate(
        "node => ({ kind: node._fullLayout.xaxis.type, x: [...node.data[0].x].map(Number) })"
    )


def test_curves_run_over_steps_epochs_or_time(desk: Desk, context: BrowserContext) -> None:
    job_id = desk.launch("axes", N_STEPS)
    page = context.new_page()
    complaints = watch_console(page)
    page.goto(f"{desk.server.base}/training/{job_id}?tab=charts")
    expect(page.locator("#content h1")).to_contain_text("Succeeded", timeout=60_000)
    page.wait_for_function(f"() => document.querySelector('.live-chart')?.dataset.points === '{N_STEPS}'")
    seen = {}
    for name in ("Time", "Epoch", "Step"):
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_function(
            "over => document.querySelector('.live-chart').dataset.over === over", arg=name.lower()
        )
        seen[name] = axis(page)
    assert {name: found["kind"] for name, found in seen.items()} == {
        "Time": "date",
        "Epoch": "linear",
        "Step": "linear",
    }
    assert seen["Step"]["x"] == list(range(1, N_STEPS + 1))
    per_step = seen["Epoch"]["x"][0]
    assert per_step > 0
    assert seen["Epoch"]["x"] == pytest.approx([per_step * step for step in seen["Step"]["x"]])
    assert seen["Time"]["x"] == sorted(seen["Time"]["x"])
    assert len(set(seen["Time"]["x"])) > N_STEPS // 2
    assert complaints == []


def launch_after(desk: Desk, page: Page, first: str) -> str:
    """Clone the job “first” in the wizard, to run after it if it succeeds; returns the follower's id."""
    page.goto(f"{desk.server.base}/training/new?clone={first}")
    page.get_by_label("Name of the job and its adapter").fill("second")
    page.get_by_label("Run after", exact=True).select_option(label="first")
    page.get_by_label("And only if").select_option(label="it has succeeded")
    page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/training/job_*")
    expect(page.get_by_text("after “first”").first).to_be_visible()
    return page.url.rpartition("/")[2]


@pytest.mark.parametrize("end", ["stopped", "failed"])
def test_a_job_follows_another_one_only_if_it_succeeds(desk: Desk, context: BrowserContext, end: str) -> None:
    first = desk.launch("first", 100_000)
    page = context.new_page()
    complaints = watch_console(page)
    second = launch_after(desk, page, first)
    assert desk.api.get(f"/jobs/{second}").json()["after_job_id"] == first
    queue = context.new_page()
    queue.goto(f"{desk.server.base}/training")
    expect(queue.get_by_role("list", name="Queued jobs")).to_contain_text("after “first”")
    if end == "stopped":
        desk.api.post(f"/jobs/{first}/stop").raise_for_status()
    else:
        os.kill(desk.api.get(f"/jobs/{first}").json()["pid"], signal.SIGKILL)
    expect(page.get_by_text(f"“first” ended as {end}")).to_be_visible(timeout=30_000)  # without a reload
    expect(queue.get_by_role("row").filter(has_text="second")).to_contain_text("Stopped", timeout=30_000)
    told = desk.api.get(f"/jobs/{second}").json()
    assert (told["status"], told["started_at"]) == ("stopped", None)
    assert complaints == []


def test_one_click_halves_the_batch_and_two_make_one_job(desk: Desk, context: BrowserContext) -> None:
    hungry = desk.launch("hungry", 12)
    before = desk.api.get(f"/jobs/{hungry}").json()["spec"]["optimization"]
    page = context.new_page()
    complaints = watch_console(page)
    page.goto(f"{desk.server.base}/training/{hungry}")
    half = page.get_by_role("button", name=f"Halve the batch to {before['batch_size'] // 2}")
    expect(half).to_be_visible(timeout=30_000)
    half.dblclick()
    page.wait_for_function("old => !location.pathname.endsWith(old)", arg=hungry)
    expect(page.locator("#content h1")).to_contain_text("Succeeded", timeout=30_000)
    made = [job for job in desk.api.get("/jobs").json()["items"] if job["id"] != hungry]
    [job] = made
    after = job["spec"]["optimization"]
    assert (after["batch_size"], after["gradient_accumulation"]) == (
        before["batch_size"] // 2,
        before["gradient_accumulation"] * 2,
    )
    assert json.dumps(after | {"batch_size": 0, "gradient_accumulation": 0}) == json.dumps(
        before | {"batch_size": 0, "gradient_accumulation": 0}
    )
    assert complaints == []
