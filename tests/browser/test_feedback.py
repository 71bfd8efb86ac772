"""The Feedback page in a real browser: counted as it is filtered, made into a dataset, on to training."""

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sqlmodel import Session, select

from qlora_studio.contracts.enums import Role, Sharing
from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import Adapter, User
from scripts.running import Server, axe_violations, sign_in, sign_up, watch_console
from tests.browser.conftest import Person
from tests.browser.takes import shelve, stored

pytestmark = pytest.mark.browser


def test_a_dataset_is_brought_up_to_date_with_what_was_rated_since(
    server: Server, page: Page, person: Person
) -> None:
    complaints = watch_console(page)
    takes = shelve(server, person.name, ["a small bell", "a large gong"])
    bearer = {"Authorization": f"Bearer {person.token}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=bearer, timeout=30) as api:

        def rate(*stars: int) -> None:
            for take_id, given in zip(takes, stars, strict=False):
                assert api.put(f"/takes/{take_id}/rating", json={"stars": given}).status_code == 200

        rate(5, 2, 4)
        source = {"kind": "feedback", "filter": {"min_stars": 4}}
        dataset_id = api.post("/datasets", json={"name": "Good bells", "source": source}).json()["id"]
        page.goto(f"{server.base}/feedback")
        update = page.get_by_role("button", name="Update from feedback: Good bells")
        dialog = page.get_by_role("dialog")
        update.click()
        expect(dialog).to_contain_text("Nothing to do: the dataset has all 2 takes")
        dialog.get_by_role("button", name="Close").last.click()
        rate(1, 5, 4, 5)
        update.click()
        expect(dialog).to_contain_text("Come2")
        expect(dialog).to_contain_text("Go1")
        expect(dialog.locator("#update-message")).to_contain_text("The next version has 3.")
        assert axe_violations(page) == []
        dialog.get_by_role("button", name="Make the next version").click()
        expect(dialog).to_have_count(0)
        expect(page.get_by_text("3 takes, version 2")).to_be_visible()
        assert api.get(f"/datasets/{dataset_id}").json()["n_clips"] == 3
        page.goto(f"{server.base}/feedback?tab=progress")
        expect(page.get_by_text("4 ratings and 0 votes in the last 30 days")).to_be_visible()
        expect(page.locator(".live-chart .bars path").first).to_be_attached()
        page.get_by_role("button", name="Change the rule").click()
        dialog.get_by_label("Takes that are needed").fill("3")
        dialog.get_by_role("button", name="Save").click()
        expect(page.locator("#ready")).to_contain_text("3 of 3 takes are rated 4 or more: enough")
        assert axe_violations(page) == []
    assert complaints == []


def test_who_may_only_listen_is_offered_nothing_that_is_refused(
    server: Server, page: Page, person: Person
) -> None:
    engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
    with Session(engine) as session:
        user = session.exec(select(User).where(User.username == person.name)).one()
        user.role = Role.VIEWER
        session.add(user)
        session.commit()
    engine.dispose()
    page.goto(f"{server.base}/feedback")
    expect(page.get_by_text("Datasets are made by trainers")).to_be_visible()
    expect(page.get_by_role("button", name="Make dataset")).to_have_count(0)
    expect(page.get_by_role("link", name="Compare takes")).to_have_count(0)
    page.goto(f"{server.base}/feedback?tab=adapters")
    expect(page.get_by_text("No model that makes sounds yet")).to_be_visible()
    expect(page.get_by_role("link", name="Add a model")).to_have_count(0)
    page.goto(f"{server.base}/feedback/pairs")
    expect(page.get_by_text("Your role can listen, but not compare.")).to_be_visible()


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


def test_what_somebody_else_shares_for_use_is_chosen_in_the_studio(
    own_server: Callable[..., Server], context: BrowserContext
) -> None:
    server = own_server()
    owner, guest = (sign_up(server, name) for name in ("ada", "bob"))
    with httpx.Client(base_url=f"{server.base}/api/v1", timeout=30) as api:
        api.headers["Authorization"] = f"Bearer {owner}"
        body = {"source": {"kind": "starter", "name": "sound"}}
        model_id = api.post("/models", json=body).json()["id"]
        api.put(f"/models/{model_id}/sharing", json={"sharing": "use"}).raise_for_status()
    with stored(server, "ada") as (session, ada):
        made = {"owner_id": ada.id, "base_model_id": model_id, "path": "/none"}
        session.add(Adapter(name="Dry", sharing=Sharing.USE, is_active=True, **made))
        session.add(Adapter(name="Secret", **made))
        session.commit()
    sign_in(context, server, guest)
    page = context.new_page()
    complaints = watch_console(page)
    page.goto(f"{server.base}/feedback?tab=adapters")
    expect(page.get_by_text("By ada", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="default")).to_have_count(0)
    expect(page.get_by_text("Secret")).to_have_count(0)
    assert axe_violations(page) == []
    page.get_by_role("link", name="Use in the studio: Dry").click()
    for label, chosen in (("Model", "Starter sound model (by ada)"), ("Adapter", "Dry (by ada)")):
        picker = page.get_by_role("combobox", name=label, exact=True)
        expect(picker.locator("option:checked")).to_have_text(chosen)
    assert complaints == []
