"""Sign up, sign in, sign out, as a person does it."""

import itertools
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scripts.running import PASSWORD, Server, axe_violations, sign_up, watch_console
from tests.browser.conftest import Person

pytestmark = pytest.mark.browser
_names = itertools.count(1)


def fill(page: Page, **values: str) -> None:
    for name, value in values.items():
        page.fill(f"#{name}", value)


def test_sign_up_from_a_shared_link_and_come_back_to_it(context: BrowserContext, server: Server) -> None:
    page = context.new_page()
    complaints = watch_console(page)
    page.goto(f"{server.base}/?from=link")
    expect(page).to_have_url(f"{server.base}/login?next=/%3Ffrom%3Dlink")
    page.goto(f"{server.base}/signup?next=/%3Ffrom%3Dlink")
    name = f"newcomer{next(_names)}"
    fill(page, username=name, email=f"{name}@example.org", password=PASSWORD, confirm=PASSWORD)
    page.click("button[type=submit]")
    expect(page.get_by_role("heading", name="Dashboard", level=1)).to_be_visible()
    expect(page).to_have_url(f"{server.base}/?from=link")
    expect(page.locator("[title='Your account']")).to_contain_text(name[:2].upper())
    assert complaints == []
    assert page.evaluate("document.cookie") == ""  # scripts cannot read the session


def test_every_wrong_field_is_named_in_place(context: BrowserContext, server: Server) -> None:
    page = context.new_page()
    page.goto(f"{server.base}/signup")
    page.click("button[type=submit]")
    for name in ("username", "email", "password", "confirm"):
        expect(page.locator(f"#{name}-error")).to_be_visible()
        expect(page.locator(f"#{name}")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#username")).to_be_focused()
    fill(page, username="ada lovelace", email="ada@", password="password12", confirm="password21")
    page.click("button[type=submit]")
    expect(page.locator("#confirm-error")).to_have_text("The two passwords differ.")
    fill(page, username="adalove", password="adalove-2026-x")
    expect(page.locator("[data-strength-text]")).to_have_text(
        "Leave your name and e-mail address out of the password."
    )
    fill(page, password="blue-harbour-42-rain")
    expect(page.locator("[data-strength]")).to_have_attribute("data-strength", "4")
    assert axe_violations(page) == []


def test_taken_names_are_told_while_typing(context: BrowserContext, server: Server, person: Person) -> None:
    page = context.new_page()
    page.goto(f"{server.base}/signup")
    fill(page, username=person.name.upper())
    expect(page.locator("#username-error")).to_have_text("This username is taken.")
    fill(page, email=f"{person.name}@example.org")
    expect(page.locator("#email-error")).to_have_text("There is an account with this e-mail address.")


def test_wrong_password_and_unknown_account_read_the_same(
    context: BrowserContext, server: Server, person: Person
) -> None:
    page = context.new_page()
    page.goto(f"{server.base}/login")
    texts = set()
    for login in (person.name, "nobody-of-that-name"):
        fill(page, login=login, password="wrong-password")
        page.click("button[type=submit]")
        alert = page.locator("[data-form-alert]")
        expect(alert).to_be_visible()
        texts.add(alert.text_content())
        assert page.input_value("#login") == login  # nothing typed is lost
    assert texts == {"That name and password do not match."}


def test_too_many_tries_are_told(context: BrowserContext, server: Server, person: Person) -> None:
    page = context.new_page()
    page.goto(f"{server.base}/login")
    fill(page, login=person.name, password="wrong-password")
    with sqlite3.connect(server.data_path / "studio.db", timeout=30) as database:
        (user_id,) = database.execute("select id from user where username = ?", [person.name]).fetchone()
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
        for _ in range(15):
            database.execute("insert into login_failure (key, at) values (?, ?)", [f"account:{user_id}", now])
    page.click("button[type=submit]")
    expect(page.locator("[data-form-alert]")).to_contain_text("Too many tries. Wait 5 minutes")


def test_a_lost_connection_is_told(context: BrowserContext, own_server: Callable[..., Server]) -> None:
    server = own_server()
    sign_up(server)
    page = context.new_page()
    page.goto(f"{server.base}/login")
    expect(page.locator("#login")).to_be_visible()
    server.kill()
    fill(page, login="ada", password=PASSWORD)
    page.click("button[type=submit]")
    expect(page.locator("[data-form-alert]")).to_contain_text("The connection was lost.")
    own_server(port=server.port)
    page.click("button[type=submit]")
    expect(page.get_by_role("heading", name="Dashboard", level=1)).to_be_visible()


def test_log_out_ends_every_tab(page: Page, server: Server) -> None:
    page.goto(server.base)
    other = page.context.new_page()
    other.goto(server.base)
    for tab in (page, other):
        expect(tab.get_by_role("heading", name="This machine")).to_be_visible()
    page.click("[title='Your account']")
    page.get_by_role("menuitem", name="Log out").click()
    expect(page).to_have_url(f"{server.base}/login")
    other.get_by_role("button", name="Add example dataset").click()
    expect(other).to_have_url(f"{server.base}/login")
    page.go_back()
    page.reload()
    expect(page).to_have_url(f"{server.base}/login")


def test_a_signed_in_person_does_not_see_the_forms(page: Page, server: Server) -> None:
    page.goto(f"{server.base}/login")
    expect(page.get_by_role("heading", name="Dashboard", level=1)).to_be_visible()
