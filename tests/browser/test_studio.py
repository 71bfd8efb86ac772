"""The Studio in a real browser: takes are walked, heard and rated by keys alone."""

import httpx
import pytest
from playwright.sync_api import Page, expect

from scripts.running import Server, axe_violations, watch_console
from tests.browser.conftest import Person
from tests.browser.takes import shelve

pytestmark = pytest.mark.browser
FIRST_SOUGHT = """() => {
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    this.addEventListener("seeking", () => (window.sought ??= this.currentTime));
    return play.call(this);
  };
}"""


def test_takes_are_rated_by_keyboard(server: Server, page: Page, person: Person) -> None:
    complaints = watch_console(page)
    page.goto(f"{server.base}/studio")
    expect(page.get_by_text("No model that makes sound")).to_be_visible()
    expect(page.get_by_text("No takes yet")).to_be_visible()
    shelve(server, person.name, ["a small bell"], n_takes=3)
    page.reload()
    takes = page.locator("[data-take]")
    expect(takes).to_have_count(3)
    assert axe_violations(page) == []
    page.locator("body").click(position={"x": 5, "y": 5})
    page.keyboard.press("j")
    expect(takes.nth(0)).to_be_focused()
    page.keyboard.press("4")  # goes on to the next take, and plays it
    expect(takes.nth(0).get_by_text("Saved")).to_be_visible()
    expect(takes.nth(1)).to_be_focused()
    page.keyboard.press("5")
    expect(page.get_by_text("2 of 50 good takes")).to_be_visible()
    expect(takes.nth(2)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("t")
    page.keyboard.type("warm, long tail")
    page.keyboard.press("Escape")  # back to the take
    shelve(server, person.name, ["a small bell"], n_takes=1)  # the same text and seed once more
    page.reload()
    expect(takes).to_have_count(4)
    takes.nth(0).focus()
    takes.nth(0).locator("studio-player").evaluate("player => player.seek(0.4)")
    page.evaluate(FIRST_SOUGHT)
    page.keyboard.press("b")
    expect(takes.nth(1)).to_be_focused()
    page.wait_for_function("() => window.sought !== undefined")
    assert page.evaluate("window.sought") >= 0.4, "not from the beginning"
    ids = [takes.nth(n).get_attribute("data-take") for n in range(1, 4)]
    page.get_by_label("Search texts").fill("a gong")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    assert "query=a+gong" in page.url
    with httpx.Client(
        base_url=f"{server.base}/api/v1", headers={"Authorization": f"Bearer {person.token}"}, timeout=30
    ) as api:
        rated = [api.get(f"/takes/{take_id}/ratings").json()["items"] for take_id in ids]
    assert [[rating["stars"] for rating in of_one] for of_one in rated] == [[4], [5], []]
    assert rated[1][0]["tags"] == ["warm", "long tail"]
    assert complaints == []
