"""A job's end in a real browser: the bell rings without a reload, and the browser tells once for all tabs."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scripts.running import Server, axe_violations, watch_console
from tests.browser.desk import Desk, opened

pytestmark = pytest.mark.browser
# Headless Chromium shows no notifications: what would be is written down, and pages say they are hidden.
_NOTE_DOWN = """
window.shown = [];
window.Notification = class {
  static permission = "granted";
  static requestPermission = async () => "granted";
  constructor(title, options) { window.shown.push({ title, body: options.body }); window.last = this; }
  close() {}
};
window.hide = () => Object.defineProperty(document, "visibilityState", { get: () => "hidden" });
"""


@pytest.fixture
def desk(own_server: Callable[..., Server], context: BrowserContext) -> Iterator[Desk]:
    context.add_init_script(_NOTE_DOWN)
    with opened(own_server, context, step_s=0.02) as desk:
        yield desk


def test_the_bell_rings_without_a_reload_and_leads_to_the_job(desk: Desk, context: BrowserContext) -> None:
    pages = [context.new_page() for _ in range(3)]
    page, *hidden = pages
    complaints = watch_console(page)
    for one in pages:
        one.goto(f"{desk.server.base}/settings/notifications")
        expect(one.get_by_role("button", name="Notifications", exact=True)).to_be_visible()
    switch = page.get_by_role("switch", name="In this browser")
    expect(switch).not_to_be_checked()
    switch.check()
    page.evaluate("window.stillHere = true")
    for one in pages:
        one.evaluate("window.hide()")

    job_id = desk.launch("<b>first</b> run", 8)
    bell = page.get_by_role("button", name="Notifications, 1 unread")
    expect(bell).to_be_visible(timeout=30_000)
    text = "“<b>first</b> run” has finished"
    for one in pages:
        expect(one.get_by_role("button", name="Notifications, 1 unread")).to_be_visible()
    shown = _shown_once(pages)
    assert shown["title"] == text
    assert shown["body"].startswith("WER ")

    bell.focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Notifications")
    expect(panel.get_by_role("link", name=text)).to_be_visible()
    assert axe_violations(page) == []
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(bell).to_be_focused()
    bell.click()
    panel.get_by_role("link", name=text).click()
    expect(page).to_have_url(f"{desk.server.base}/training/{job_id}")
    expect(page.locator("#content h1")).to_contain_text("Succeeded")
    assert page.evaluate("window.stillHere") is True
    for one in pages:  # read here is read in every tab
        expect(one.get_by_role("button", name="Notifications", exact=True)).to_be_visible()
    assert complaints == []
    _add_and_remove_a_webhook(hidden[0])


def _shown_once(pages: list[Page]) -> dict[str, str]:
    """What the browser has told: by one tab, whichever came first."""
    pages[0].wait_for_function(
        "() => Object.keys(localStorage).some((key) => key.startsWith('studio-bell-taken'))"
    )
    for _ in range(100):
        shown = [item for one in pages for item in one.evaluate("window.shown")]
        if shown:
            break
        pages[0].wait_for_timeout(100)
    pages[0].wait_for_timeout(1_700)  # as long as a tab may wait before it tells: nothing more may come
    shown = [item for one in pages for item in one.evaluate("window.shown")]
    assert len(shown) == 1
    return shown[0]


def _add_and_remove_a_webhook(page: Page) -> None:
    page.get_by_role("button", name="Add webhook").click()
    form = page.get_by_role("dialog", name="Add a webhook")
    form.get_by_label("Address").fill("http://10.0.0.1/hook")
    form.get_by_role("button", name="Add webhook").click()
    expect(form.get_by_text("isn't a public server")).to_be_visible()
    form.get_by_label("Address").fill("https://hooks.example/studio")
    form.get_by_role("button", name="Add webhook").click()
    secret = page.get_by_role("dialog", name="The webhook's secret")
    expect(secret.get_by_text("whsec_")).to_be_visible()
    secret.get_by_role("button", name="Done").click()
    expect(page.get_by_text("whsec_")).to_have_count(0)
    topic = page.get_by_role("checkbox", name="Training finished")
    topic.click()
    expect(topic).not_to_be_checked()  # the server has said so
    page.reload()
    expect(topic).not_to_be_checked()
    assert axe_violations(page) == []
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Delete webhook").click()
    expect(page.get_by_text("No webhooks yet")).to_be_visible()
