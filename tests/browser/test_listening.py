"""A listening test in a real browser: set up with mistakes marked, taken by keyboard, read live, closed."""

import pytest
from playwright.sync_api import Page, expect
from sqlmodel import Session, select

from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import listening_questions
from scripts.running import Server, axe_violations, watch_console
from tests.browser.conftest import Person
from tests.services.listening_desk import open_test
from tests.services.test_generations import sound_model

pytestmark = pytest.mark.browser


@pytest.fixture
def owner(server: Server, person: Person, monkeypatch: pytest.MonkeyPatch):
    """The person as the server's own database knows him, which this process opens too."""
    monkeypatch.setenv("QLORA_STUDIO_DATA", str(server.data_path))
    get_settings.cache_clear()
    db.get_engine.cache_clear()
    with db.read() as session:
        yield session.exec(select(User).where(User.username == person.name)).one()
    db.get_engine().dispose()
    get_settings.cache_clear()
    db.get_engine.cache_clear()


def test_taken_by_keyboard_and_read_live(server: Server, page: Page, owner: User) -> None:
    test = open_test(owner, n_contestants=2, n_prompts=2, catch_every=0, files=True)
    complaints = watch_console(page)
    page.goto(f"{server.base}/listening")
    row = page.get_by_role("row").filter(has_text=test.name)
    expect(row).to_contain_text("Open")
    assert axe_violations(page) == []
    page.goto(f"{server.base}/listening/{test.id}")
    for _ in range(2):
        expect(page.locator("[data-ready=true]")).to_be_visible()
        shown = page.locator("[data-pair]").get_attribute("data-pair") or ""
        page.keyboard.press("a")
        page.keyboard.press("b")
        expect(page.get_by_role("button", name="B is better")).to_be_enabled()
        page.keyboard.press("ArrowRight")
        expect(page.locator(f"[data-pair='{shown}']")).to_have_count(0)
    expect(page.get_by_text("You have answered everything")).to_be_visible()

    page.goto(f"{server.base}/listening/{test.id}/results")
    expect(page.get_by_role("table", name="Ranking")).to_contain_text("adapter 1")
    expect(page.get_by_text("can't be told apart yet")).to_be_visible()
    assert axe_violations(page) == []
    page.get_by_role("button", name=f"Actions for {owner.username}").click()
    page.get_by_role("menuitem", name="Leave out").click()
    expect(page.get_by_text("No votes yet")).to_be_visible()
    page.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("button", name="Close the test").click()
    expect(page.get_by_role("button", name="Close", exact=True)).to_have_count(0)
    with db.write() as session:
        asked = listening_questions.ask(session, actor=owner, test_id=test.id)
    assert (asked.questions, asked.n_answered, asked.status) == ([], 2, "closed")
    assert complaints == []


def test_what_is_wrong_is_marked(server: Server, page: Page, owner: User) -> None:
    with Session(db.get_engine(), expire_on_commit=False) as session:
        for does in ("one", "two"):
            sound_model(session, owner, does)
    complaints = watch_console(page)
    page.goto(f"{server.base}/listening/new")
    page.get_by_label("Contestant 2", exact=True).select_option(index=0)
    page.get_by_label("Contestant 1", exact=True).select_option(index=0)
    page.get_by_role("button", name="Make the takes").click()
    expect(page.get_by_text("Give it a name")).to_be_visible()
    expect(page.get_by_text("one a line, of at most")).to_be_visible()
    page.get_by_label("Name").fill("Which")
    page.get_by_label("Texts").fill("rain\nsnow\n")
    expect(page.get_by_text("8 takes will be made.")).to_be_visible()
    page.get_by_role("button", name="Make the takes").click()
    expect(page.get_by_text("Two contestants are the same.")).to_be_visible()
    page.get_by_role("button", name="Add a contestant").click()
    expect(page.get_by_text("12 takes will be made.")).to_be_visible()
    assert axe_violations(page) == []
    assert complaints == []
