"""The queue in a real browser: reordered by keyboard, paused, let go on, live."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scripts.running import Server, axe_violations, watch_console
from tests.browser.desk import Desk, opened

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(own_server: Callable[..., Server], context: BrowserContext) -> Iterator[Desk]:
    """A server that starts no job until its queue is let go on."""
    with opened(own_server, context, step_s=0.05) as desk:
        desk.api.patch("/queue", json={"is_paused": True, "note": "New disk."}).raise_for_status()
        yield desk


def names(page: Page) -> list[str]:
    return page.get_by_role("list", name="Queued jobs").locator("li p:first-child").all_inner_texts()


def test_the_queue_is_reordered_and_let_go_on(desk: Desk, context: BrowserContext, tmp_path: Path):
    for name in ("one", "two", "three"):
        desk.launch(name, 12)
    page = context.new_page()
    complaints = watch_console(page)
    page.goto(f"{desk.server.base}/training")
    expect(page.get_by_text("The queue is paused by ada. New disk.")).to_be_visible()
    page.get_by_role("button", name="Move up: three").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="Queued jobs").locator("li").nth(1)).to_contain_text("three")
    page.keyboard.press("Enter")  # the focus has moved along
    expect(page.get_by_role("list", name="Queued jobs").locator("li").first).to_contain_text("three")
    assert names(page) == ["three", "one", "two"]
    expect(page.get_by_role("row").filter(has_text="three")).to_contain_text("Place 1 in the queue")
    assert axe_violations(page) == []

    page.get_by_role("button", name="Let it go on").click()
    expect(page.get_by_text("The queue is paused")).to_have_count(0)
    for name in ("three", "one", "two"):
        expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("Succeeded", timeout=60_000)
    expect(page.get_by_role("list", name="Queued jobs")).to_have_count(0)
    started = {job["name"]: job["started_at"] for job in desk.api.get("/jobs").json()["items"]}
    assert sorted(started, key=lambda name: started[name]) == ["three", "one", "two"]

    page.get_by_role("button", name="Pause the queue").click()
    page.get_by_label("Why").fill("Fire drill.")
    page.get_by_role("dialog").get_by_role("button", name="Pause the queue").click()
    expect(page.get_by_text("Fire drill.")).to_be_visible()
    assert desk.api.get("/queue").json()["is_paused"] is True
    assert axe_violations(page) == []
    assert complaints == []
