"""Blind pairs in a real browser: heard, answered by keys, taken back."""

import httpx
import pytest
from playwright.sync_api import Page, expect

from scripts.running import Server, axe_violations, watch_console
from tests.browser.conftest import Person
from tests.browser.takes import shelve

pytestmark = pytest.mark.browser


def test_pairs_are_compared_by_keyboard(server: Server, page: Page, person: Person) -> None:
    complaints = watch_console(page)
    page.goto(f"{server.base}/feedback/pairs")
    expect(page.get_by_text("Nothing to compare yet")).to_be_visible()
    shelve(server, person.name, ["a small bell", "a large gong"])
    page.reload()
    better = page.get_by_role("button", name="A is better")
    expect(page.locator("[data-ready=true]")).to_be_visible()
    expect(better).to_be_disabled()
    first = page.locator("[data-pair]").get_attribute("data-pair")
    page.keyboard.press("ArrowLeft")
    assert page.locator("[data-pair]").get_attribute("data-pair") == first, "nothing was heard yet"
    page.keyboard.press("Space")  # both are played, one after the other
    expect(better).to_be_enabled()
    assert axe_violations(page) == []
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("1 pair answered, 1 just now")).to_be_visible()
    expect(page.locator("[data-pair]")).not_to_have_attribute("data-pair", first or "")
    page.keyboard.press("s")
    expect(page.get_by_text("You have answered every pair")).to_be_visible()

    api = httpx.Client(
        base_url=f"{server.base}/api/v1", headers={"Authorization": f"Bearer {person.token}"}, timeout=30
    )
    with api:
        assert [vote["verdict"] for vote in api.get("/preferences").json()["items"]] == ["skip", "left"]
        assert api.delete("/preferences/last").json()["verdict"] == "skip"
    page.reload()
    page.get_by_role("button", name="Listen to A").click()
    page.get_by_role("button", name="Listen to B").click()
    page.get_by_role("button", name="Equally good").click()
    expect(page.get_by_text("You have answered every pair")).to_be_visible()
    assert complaints == []
