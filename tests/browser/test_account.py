"""Settings, as a person uses them: profile, theme, password, sessions and tokens."""

import httpx
import pytest
from playwright.sync_api import Page, expect

from scripts.running import PASSWORD, Server, axe_violations, watch_console
from tests.browser.conftest import Person

pytestmark = pytest.mark.browser
OTHER = "green-station-17-snow"


def test_profile_password_sessions_and_tokens(page: Page, server: Server, person: Person) -> None:
    complaints = watch_console(page)
    body = {"login": person.name, "password": PASSWORD}
    elsewhere = httpx.post(f"{server.base}/api/v1/auth/login", json=body).json()["token"]
    page.goto(f"{server.base}/settings")
    sessions = page.get_by_role("list", name="Sessions")
    expect(sessions.get_by_role("listitem").first).to_contain_text("This one")
    assert axe_violations(page) == []
    page.fill("#name", "Ada Lovelace")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.locator("select#theme").select_option("dark")
    expect(page.locator("html")).to_have_class("dark")

    page.fill("#current", "not the password")
    page.fill("#new", OTHER)
    page.fill("#confirm", OTHER)
    page.get_by_role("button", name="Change password").click()
    expect(page.locator("#current-error")).to_have_text("This is not your present password.")
    page.fill("#current", PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("Your password is changed.")).to_be_visible()
    expect(sessions.get_by_role("listitem")).to_have_count(1)
    bearer = {"Authorization": f"Bearer {elsewhere}"}
    assert httpx.get(f"{server.base}/api/v1/me", headers=bearer).status_code == 401

    page.get_by_role("button", name="New token").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("nightly")
    dialog.get_by_role("button", name="Make token").click()
    secret = dialog.locator("code").inner_text()
    dialog.get_by_role("button", name="Done").click()
    bearer = {"Authorization": f"Bearer {secret}"}
    assert httpx.get(f"{server.base}/api/v1/me", headers=bearer).json()["name"] == "Ada Lovelace"
    page.get_by_role("button", name="Revoke nightly").click()
    page.get_by_role("button", name="Revoke token").click()
    expect(page.get_by_text("No tokens yet")).to_be_visible()
    assert httpx.get(f"{server.base}/api/v1/me", headers=bearer).status_code == 401
    assert not [c for c in complaints if "422" not in c], complaints
