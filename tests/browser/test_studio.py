"""The Studio in a real browser: takes are walked, heard and rated by keys alone."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from qlora_studio.contracts.enums import Role
from scripts.running import Server, axe_violations, watch_console
from tests.browser.conftest import Person
from tests.browser.takes import add_sound_model, shelve, stored

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
    page.keyboard.press("n")  # before the stars
    page.keyboard.type("5 f thin?")  # no key while it is typed
    page.keyboard.press("Escape")  # back to the take
    expect(takes.nth(2)).to_be_focused()
    expect(takes.nth(2).get_by_text("Kept with your stars.")).to_be_visible()
    page.keyboard.press("f")
    expect(takes.nth(2).get_by_label("Favourite")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("k")
    page.keyboard.press("t")
    page.keyboard.type("warm, long tail")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("favourite, or no longer")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)
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
    page.get_by_role("button", name="Favourites").click()
    expect(takes).to_have_count(3)
    page.get_by_label("Rated or not").select_option("no")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("button", name="Clear search and filters").click()
    page.get_by_label("All tags").select_option("warm")
    expect(page).to_have_url(re.compile("tag=warm"))
    expect(takes).to_have_count(3)
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


def test_templates_and_any_two_makers_side_by_side(server: Server, page: Page, person: Person) -> None:
    complaints = watch_console(page)
    model_id, (wet, dry) = add_sound_model(server, person.name, adapters=["wet", "dry"])
    shelve(server, person.name, ["a small bell"], n_takes=1, model_id=model_id, adapter=(wet, "wet"))
    shelve(server, person.name, ["a gong"], n_takes=1, model_id=model_id, listening_test_id="test_a")
    page.goto(f"{server.base}/studio")
    takes = page.locator("[data-take]")
    expect(takes).to_have_count(1)
    expect(page.locator("#studio-adapter")).to_have_value(wet)
    expect(page.locator("#studio-strength")).to_have_value("0.8")
    page.locator("#studio-prompt").fill("rain on a tin roof")
    page.locator("#studio-n_takes").fill("7")
    page.get_by_role("button", name="Keep as a template").click()
    page.get_by_label("Name").fill("Roof")
    page.get_by_role("button", name="Keep template").click()
    chip = page.get_by_role("group", name="Your templates").get_by_role("button", name="Roof")
    expect(chip).to_be_visible()
    page.reload()
    page.locator("#studio-prompt").fill("else")
    expect(page.locator("#studio-n_takes")).not_to_have_value("")
    chip.click()
    expect(page.locator("#studio-prompt")).to_have_value("rain on a tin roof")
    expect(page.locator("#studio-n_takes")).to_have_value("7")
    page.get_by_role("button", name="All templates").click()
    page.get_by_label("Name of Roof").fill("Tin")
    page.get_by_label("Name of Roof").press("Tab")
    assert axe_violations(page) == []
    page.get_by_role("button", name="Delete Tin").click()
    page.get_by_role("button", name="Delete template").click()
    expect(page.get_by_label("Name of Tin")).to_have_count(0)
    page.keyboard.press("Escape")
    shelve(server, person.name, ["a small bell"], n_takes=1, model_id=model_id, adapter=(dry, "dry"))
    page.get_by_role("button", name="Compare takes of a small bell").click()
    page.locator("#compare-other").select_option("dry")
    assert axe_violations(page) == []
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text("These takes were there already")).to_be_visible()
    expect(takes).to_have_count(2)
    takes.nth(1).focus()
    page.keyboard.press("b")
    expect(takes.nth(0)).to_be_focused()
    page.get_by_role("link", name="From listening tests").click()
    expect(page.get_by_role("heading", name="a gong")).to_be_visible()
    assert axe_violations(page) == []
    assert complaints == []


def test_who_may_only_listen_is_shown_no_button_that_is_refused(
    server: Server, page: Page, person: Person
) -> None:
    model_id, (wet,) = add_sound_model(server, person.name, adapters=["wet"])
    shelve(server, person.name, ["a small bell"], n_takes=1, model_id=model_id, adapter=(wet, "wet"))
    with stored(server, person.name) as (session, owner):
        owner.role = Role.VIEWER
        session.add(owner)
    page.goto(f"{server.base}/studio")
    expect(page.locator("[data-take]")).to_have_count(1)
    expect(page.get_by_text("neither rate nor generate")).to_be_visible()
    for name in ("Generate", "Compare", "Delete", "Use the text", "of 5 stars", "Keep as"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    for label in ("Who may hear", "Rate by"):
        expect(page.get_by_label(label)).to_have_count(0)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"{server.base}/feedback/pairs")
    expect(page.get_by_text("Your role can listen, but not compare.")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
