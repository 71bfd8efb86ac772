"""A sweep in a real browser: launched from the wizard, watched, compared, stopped."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from scripts.running import Server, axe_violations, watch_console
from tests.browser.desk import Desk, opened

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(own_server: Callable[..., Server], context: BrowserContext) -> Iterator[Desk]:
    with opened(own_server, context, step_s=0.02) as desk:
        yield desk


class LateServer:
    """What the server says to a page, held back while `is_late`."""

    def __init__(self, page: Page) -> None:
        self.is_late = False
        self._held: list[tuple[WebSocketRoute, str | bytes]] = []
        page.route_web_socket("**/_event/**", self._join)

    def answer(self) -> None:
        """Let all of it through, in order."""
        self.is_late = False
        for page, message in self._held:
            page.send(message)

    def _join(self, page: WebSocketRoute) -> None:
        server = page.connect_to_server()
        page.on_message(server.send)
        server.on_message(lambda message: self._take(page, message))

    def _take(self, page: WebSocketRoute, message: str | bytes) -> None:
        if self.is_late:
            self._held.append((page, message))
        else:
            page.send(message)


def test_what_is_typed_before_the_server_answers_is_kept(desk: Desk, context: BrowserContext):
    before = desk.launch("before", 10)
    page = context.new_page()
    server = LateServer(page)
    page.goto(f"{desk.server.base}/training/new?clone={before}")
    page.get_by_role("button", name="Try several values").click()
    page.get_by_role("button", name="Another parameter").click()
    expect(page.get_by_label("Parameter 2", exact=True)).to_have_value("qlora.rank")
    server.is_late = True
    page.get_by_label("Parameter 1", exact=True).select_option("Seed")
    values = page.get_by_label("Values of parameter 1")
    expect(values).to_have_value("0")  # where it begins
    values.press("End")
    values.press_sequentially(", 1, 2")
    page.wait_for_timeout(600)  # longer than the page waits for more to be typed
    server.answer()
    expect(page.get_by_text("3 × 1 values: 3 jobs, as one group.")).to_be_visible()
    expect(values).to_have_value("0, 1, 2")
    expect(values).to_be_focused()
    page.get_by_role("button", name="Remove parameter 1").click()
    expect(page.get_by_label("Values of parameter 2")).to_have_count(0)
    expect(page.get_by_label("Values of parameter 1")).to_have_value("16")


def test_a_sweep_is_launched_watched_sorted_and_stopped(desk: Desk, context: BrowserContext):
    before = desk.launch("before", 100_000)
    page = context.new_page()
    complaints = watch_console(page)
    page.goto(f"{desk.server.base}/training/new?clone={before}")
    page.get_by_label("Name of the job and its adapter").fill("which rank")
    page.get_by_role("textbox", name="Steps", exact=True).fill("12")
    page.get_by_role("button", name="Try several values").click()
    page.get_by_label("Parameter 1", exact=True).select_option("Rank")
    values = page.get_by_label("Values of parameter 1")
    expect(values).to_have_value("16")  # the field of the parameter just chosen, not of the one before
    values.fill("16, 4, x")
    expect(page.get_by_text("Give a whole number.")).to_be_visible()
    values.fill("16, 4, 8")
    expect(page.get_by_text("3 jobs, as one group.")).to_be_visible()
    page.get_by_label("Run after").select_option("before")
    page.get_by_label("And only if").select_option("it has ended, in any way")
    assert axe_violations(page) == []
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("This starts 3 jobs.")).to_be_visible()
    page.get_by_role("button", name="Start all jobs").click()
    expect(page.get_by_text("0 of 3 jobs ended")).to_be_visible()
    sweep = page.url.rpartition("/")[2]
    desk.api.post(f"/jobs/{before}/stop", json={"mode": "kill"}).raise_for_status()
    expect(page.get_by_text("3 of 3 jobs ended")).to_be_visible(timeout=60_000)  # without a reload

    page.goto(f"{desk.server.base}/training")
    page.get_by_label("Filter by sweeps").select_option("which rank")
    expect(page).to_have_url(f"{desk.server.base}/training?group={sweep}")
    expect(page.get_by_role("link", name="which rank: rank 16")).to_be_visible()
    jobs = page.get_by_role("table", name="Jobs").locator("xpath=..")
    assert jobs.evaluate("card => card.scrollWidth <= card.clientWidth"), "nothing is cut off at the side"
    page.get_by_role("link", name="which rank: rank 16").click()
    page.get_by_role("link", name="which rank", exact=True).click()
    expect(page).to_have_url(f"{desk.server.base}/training/sweeps/{sweep}")
    table = page.get_by_role("table", name="Jobs of the sweep")
    expect(table.get_by_text("Best")).to_have_count(1)
    expect(page.get_by_text("Best: rank")).to_be_visible()
    page.get_by_role("button", name="Rank").click()
    expect(table.locator("tbody tr").first).to_contain_text("4")
    expect(page).to_have_url(f"{desk.server.base}/training/sweeps/{sweep}?sort=value_1")
    assert axe_violations(page) == []

    longer = desk.sweep("stopped", {"qlora.rank": [1, 2], "qlora.alpha": [8, 16]}, steps=100_000)
    page.goto(f"{desk.server.base}/training/sweeps/{longer}")
    page.get_by_role("button", name="Stop all").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Stop all").click()
    expect(page.get_by_text("4 of 4 jobs ended")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("button", name="Stop all")).to_have_count(0)
    assert axe_violations(page) == []
    assert complaints == []
