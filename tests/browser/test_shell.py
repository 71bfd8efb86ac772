"""The frame around every page: navigation without reload, phones, themes, lost connections."""

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from scripts.running import Server, axe_violations, sign_in, sign_up, watch_console
from tests.browser.conftest import Person

pytestmark = pytest.mark.browser


def test_dashboard_of_a_new_account(page: Page, server: Server) -> None:
    complaints = watch_console(page)
    page.goto(server.base)
    expect(page.get_by_role("heading", name="Your first fine-tuned model")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Memory")).to_be_visible()
    assert axe_violations(page) == []
    assert complaints == []


def test_example_dataset_is_one_click_away_and_shows_up_by_itself(page: Page, server: Server) -> None:
    page.goto(server.base)
    page.get_by_role("button", name="Add example dataset").click()
    expect(page.get_by_text("496 clips")).to_be_visible(timeout=90_000)
    expect(page.get_by_role("main").get_by_text("Done")).to_be_visible()


def test_pages_change_without_a_reload(page: Page, server: Server) -> None:
    page.goto(server.base)
    page.evaluate("window.stillHere = true")
    page.get_by_role("navigation", name="Sections").get_by_role("link", name="Datasets").click()
    expect(page.get_by_role("heading", name="Datasets", level=1)).to_be_visible()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox", name="Command")).to_be_focused()
    page.keyboard.type("dash")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Dashboard", level=1)).to_be_visible()
    assert page.evaluate("window.stillHere") is True


def test_sidebar_collapses_and_stays_so(page: Page, server: Server) -> None:
    page.goto(server.base)
    page.get_by_role("button", name="Collapse or expand the sidebar").click()
    sidebar = page.locator(".app-sidebar")
    expect(sidebar).to_have_css("width", "60px")
    page.reload()
    expect(sidebar).to_have_css("width", "60px")
    expect(sidebar.get_by_role("link", name="Datasets")).to_be_visible()


def test_drawer_on_a_phone(page: Page, server: Server) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(server.base)
    expect(page.locator(".app-sidebar")).to_be_hidden()
    page.get_by_role("button", name="Open the menu").click()
    drawer = page.get_by_role("dialog", name="Menu")
    expect(drawer).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    page.get_by_role("button", name="Open the menu").click()
    drawer.get_by_role("link", name="Datasets").click()
    expect(page.get_by_role("heading", name="Datasets", level=1)).to_be_visible()
    expect(drawer).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_skip_link_is_first_and_leads_to_the_content(page: Page, server: Server) -> None:
    page.goto(server.base)
    expect(page.get_by_role("heading", name="This machine")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()


def test_theme_switch_by_keyboard(page: Page, server: Server) -> None:
    page.goto(server.base)
    page.get_by_role("button", name="Theme").focus()
    page.keyboard.press("Enter")
    page.get_by_role("menuitem", name="Dark").press("Enter")
    expect(page.locator("html")).to_have_class("dark")
    page.reload()
    expect(page.locator("html")).to_have_class("dark")
    assert axe_violations(page) == []


def test_the_page_lives_on_when_the_server_is_restarted(
    context: BrowserContext, own_server: Callable[..., Server]
) -> None:
    server = own_server()
    sign_in(context, server, sign_up(server))
    page = context.new_page()
    page.goto(server.base)
    expect(page.get_by_role("heading", name="This machine")).to_be_visible()
    server.kill()
    expect(page.get_by_text("Connection lost.")).to_be_visible()
    own_server(port=server.port)
    expect(page.get_by_text("Connection lost.")).to_be_hidden(timeout=30_000)
    page.get_by_role("button", name="Add example dataset").click()
    expect(page.get_by_text("496 clips")).to_be_visible(timeout=90_000)


def test_a_stolen_client_token_shows_nothing(
    browser: Browser, page: Page, server: Server, person: Person
) -> None:
    page.goto(server.base)
    expect(page.locator("[title='Your account']")).to_contain_text("PE")
    stolen = page.evaluate("sessionStorage.getItem('token')")
    thief = browser.new_context()
    tab = thief.new_page()
    frames: list[str] = []
    tab.on("websocket", lambda ws: ws.on("framereceived", lambda payload: frames.append(str(payload))))
    tab.goto(f"{server.base}/login")
    tab.evaluate("token => sessionStorage.setItem('token', token)", stolen)
    with tab.expect_websocket() as opened:
        tab.goto(f"{server.base}/login?again=1")
    assert stolen in opened.value.url
    deadline = time.monotonic() + 20
    while not any("state" in frame for frame in frames) and time.monotonic() < deadline:
        tab.wait_for_timeout(100)
    assert frames
    assert person.name not in "".join(frames)
    thief.close()


def test_unknown_addresses_say_so(page: Page, server: Server) -> None:
    answer = page.goto(f"{server.base}/no-such-page")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", name="There is nothing at this address")).to_be_visible()
