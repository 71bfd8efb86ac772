"""The Feedback page in a real browser: counted as it is filtered, made into a dataset, on to training."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from scripts.running import Server, axe_violations, watch_console
from tests.browser.conftest import Person
from tests.browser.takes import shelve

pytestmark = pytest.mark.browser


def test_rated_takes_become_a_dataset_to_train_on(server: Server, page: Page, person: Person) -> None:
    complaints = watch_console(page)
    page.goto(f"{server.base}/feedback")
    expect(page.get_by_text("No datasets from feedback yet")).to_be_visible()
    expect(page.get_by_role("button", name="Make dataset")).to_be_disabled()
    takes = shelve(server, person.name, ["a small bell", "a large gong"])
    bearer = {"Authorization": f"Bearer {person.token}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=bearer, timeout=30) as api:
        for take_id, stars in zip(takes, (5, 3, 4), strict=False):
            assert api.put(f"/takes/{take_id}/rating", json={"stars": stars}).status_code == 200
    expect(page.locator("#counted")).to_contain_text("2 takes")  # by itself
    page.get_by_label("Rated at least").fill("3")
    expect(page.locator("#counted")).to_contain_text("3 takes")
    page.get_by_label("Rated at least").fill("9")
    expect(page.get_by_role("alert").filter(has_text="less than or equal to 5")).to_be_visible()
    page.get_by_label("Rated at least").fill("4")
    expect(page.locator("#counted")).to_contain_text("2 takes")
    assert axe_violations(page) == []
    page.get_by_role("button", name="Make dataset").click()
    expect(page).to_have_url(re.compile(r"/datasets/ds_"))
    page.goto(f"{server.base}/feedback?tab=adapters")
    expect(page.get_by_text("No model that makes sounds yet")).to_be_visible()
    page.goto(f"{server.base}/feedback?tab=progress")
    expect(page.locator("#ready")).to_contain_text("2 of 50 takes are rated 4 or more")
    assert axe_violations(page) == []
    page.goto(f"{server.base}/feedback")
    expect(page.get_by_role("link", name="Train on this")).to_be_visible()
    page.get_by_role("link", name="Train on this").click()
    expect(page).to_have_url(re.compile("/training/new"))
    assert complaints == []
