"""Administration in the browser, what a viewer is not offered, and a password set by a link."""

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from scripts.running import PASSWORD, Server, axe_violations, sign_in, sign_up, watch_console
from tests.browser.conftest import Person

pytestmark = pytest.mark.browser
OTHER = "green-station-17-snow"


def test_somebody_looks_at_what_is_shared_and_is_offered_no_change(
    page: Page, server: Server, person: Person
) -> None:
    with httpx.Client(base_url=f"{server.base}/api/v1", timeout=60) as owner:
        owner.headers["Authorization"] = f"Bearer {sign_up(server, person.name + '-friend')}"
        model = owner.post("/models", json={"source": {"kind": "starter"}}).json()["id"]
        data = owner.post("/datasets", json={"name": "Theirs", "source": {"kind": "example"}}).json()["id"]
        owner.put(f"/datasets/{data}/sharing", json={"sharing": "read"}).raise_for_status()
        page.goto(f"{server.base}/datasets?shelf=shared")
        page.get_by_role("link", name="Theirs").click()
        expect(page.get_by_text(f"Shared by {person.name}-friend to look at")).to_be_visible()
        expect(page.get_by_role("link", name="Clips", exact=True)).to_be_visible(timeout=90_000)
        page.get_by_role("link", name="Clips", exact=True).click()
        expect(page.get_by_role("row").nth(3)).to_be_visible()
        for name in ("Edit", "Delete", "Train on this", "Augment", "Transcribe"):
            expect(page.locator("#content").get_by_text(name, exact=True)).to_have_count(0)
        expect(page.locator("[data-sonner-toast]")).to_have_count(0)
        owner.put(f"/models/{model}/sharing", json={"sharing": "use"})
    page.goto(f"{server.base}/training/new?model={model}")
    expect(page.get_by_text("Starter speech model").first).to_be_visible()


@pytest.mark.slow
def test_an_admin_demotes_resets_disables_and_reads_the_log(own_server, browser: Browser) -> None:
    server: Server = own_server()
    admin, bob = sign_up(server, "chief"), sign_up(server, "bob")
    window, theirs = (browser.new_context(reduced_motion="reduce") for _ in range(2))
    sign_in(window, server, admin)
    sign_in(theirs, server, bob)
    page, other = window.new_page(), theirs.new_page()
    complaints = watch_console(page)
    other.goto(f"{server.base}/datasets")
    expect(other.get_by_role("link", name="Add dataset")).to_be_visible()
    expect(other.get_by_role("link", name="Administration")).to_have_count(0)
    page.goto(f"{server.base}/")
    page.get_by_role("link", name="Administration").first.click()
    row = page.get_by_role("row").filter(has_text="bob@example.org")
    expect(row).to_be_visible()
    assert axe_violations(page) == []
    page.get_by_label("Role of bob").select_option("viewer")
    expect(page.get_by_label("Role of bob")).to_have_value("viewer")
    for path in ("/datasets", "/models", "/training"):
        other.goto(server.base + path)
        expect(other.locator("#content h1")).to_be_visible()
        expect(other.locator("#content").get_by_text("No ", exact=False).first).to_be_visible()
        for name in ("Add dataset", "Add model", "Start training", "Add example dataset", "Add your own"):
            expect(other.locator("#content").get_by_text(name, exact=True)).to_have_count(0)
    page.get_by_label("Role of chief").select_option("viewer")
    expect(page.get_by_text("is the last admin")).to_be_visible()
    expect(page.get_by_label("Role of chief")).to_have_value("admin")

    page.get_by_role("button", name="Actions for bob").click()
    page.get_by_role("menuitem", name="Password link").click()
    link = page.get_by_role("dialog").locator("code").inner_text()
    page.get_by_role("button", name="Done").click()
    other.goto(server.base + "/reset#" + link.partition("#")[2])
    other.fill("#new", OTHER)
    other.fill("#confirm", OTHER)
    other.get_by_role("button", name="Set password").click()
    expect(other).to_have_url(f"{server.base}/login")
    body = {"login": "bob", "password": OTHER}
    assert httpx.post(f"{server.base}/api/v1/auth/login", json=body).status_code == 200
    body["password"] = PASSWORD
    assert httpx.post(f"{server.base}/api/v1/auth/login", json=body).status_code == 401

    page.get_by_role("button", name="Actions for bob").click()
    page.get_by_role("menuitem", name="Disable").click()
    page.get_by_role("button", name="Disable account").click()
    expect(row.get_by_text("Disabled", exact=True)).to_be_visible()
    page.get_by_role("button", name="Actions for bob").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("button", name="Delete account").click()
    expect(row).to_have_count(0)
    page.get_by_role("link", name="Audit log").click()
    expect(page.get_by_role("row").filter(has_text="user.delete")).to_be_visible()
    assert axe_violations(page) == []
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV of these").click()
    assert "user.delete" in download.value.path().read_text()
    assert complaints == []
    window.close()
    theirs.close()
