"""A sweep in a real browser: watched, compared, stopped."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from scripts.running import Server, axe_violations, sign_in, sign_up, watch_console
from tests.browser.test_jobs import Desk

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(own_server: Callable[..., Server], context: BrowserContext) -> Iterator[Desk]:
    server = own_server(QLORA_STUDIO_WORKER="toy", QLORA_STUDIO_TOY_STEP_S="0.02")
    token = sign_up(server, "ada")
    sign_in(context, server, token)
    opened = Desk(server, token)
    yield opened
    opened.api.close()


def test_a_sweep_is_watched_sorted_and_stopped(desk: Desk, context: BrowserContext):
    sweep = desk.sweep("which rank", {"qlora.rank": [16, 4, 8]}, steps=12)
    page = context.new_page()
    complaints = watch_console(page)
    page.goto(f"{desk.server.base}/training")
    page.get_by_label("Filter by sweeps").select_option("which rank")
    expect(page).to_have_url(f"{desk.server.base}/training?group={sweep}")
    page.get_by_role("link", name="which rank: rank 16").click()
    page.get_by_role("link", name="which rank", exact=True).click()
    expect(page).to_have_url(f"{desk.server.base}/training/sweeps/{sweep}")
    table = page.get_by_role("table", name="Jobs of the sweep")
    expect(page.get_by_text("3 of 3 jobs ended")).to_be_visible(timeout=60_000)
    expect(table.get_by_text("Best")).to_have_count(1)
    expect(page.get_by_text("Best so far: rank")).to_be_visible()
    page.get_by_role("button", name="Rank").click()
    expect(table.locator("tbody tr").first).to_contain_text("4")
    expect(page).to_have_url(f"{desk.server.base}/training/sweeps/{sweep}?sort=value_1")
    assert axe_violations(page) == []

    longer = desk.sweep("stopped", {"qlora.rank": [1, 2], "qlora.alpha": [8, 16]}, steps=2_000)
    page.goto(f"{desk.server.base}/training/sweeps/{longer}")
    page.get_by_role("button", name="Stop all").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Stop all").click()
    expect(page.get_by_text("4 of 4 jobs ended")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("button", name="Stop all")).to_have_count(0)
    assert axe_violations(page) == []
    assert complaints == []
