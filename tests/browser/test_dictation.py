"""A real model writes clips down in a real browser; they are corrected by keyboard and become a dataset."""

import time

import httpx
import pytest
from playwright.sync_api import Browser, expect
from sqlmodel import Session, col, select

from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import Clip
from scripts.running import Server, axe_violations, sign_in, sign_up, watch_console

pytestmark = pytest.mark.browser


def recordings_without_words(server: Server, token: str, *, n: int) -> str:
    """The example dataset, whose first clips have lost their words; and the starter model."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=60) as api:
        api.post("/models", json={"source": {"kind": "starter"}}).raise_for_status()
        body = {"name": "Calls", "task": "speech-to-text", "source": {"kind": "example"}}
        dataset_id = str(api.post("/datasets", json=body).raise_for_status().json()["id"])
        deadline = time.monotonic() + 60
        while api.get(f"/datasets/{dataset_id}").json()["status"] != "ready":
            assert time.monotonic() < deadline
            time.sleep(0.1)
    engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
    with Session(engine) as session:
        for clip in session.exec(select(Clip).where(Clip.dataset_id == dataset_id, col(Clip.position) < n)):
            clip.text = None
            session.add(clip)
        session.commit()
    engine.dispose()
    return dataset_id


def test_recordings_are_written_down_corrected_and_become_a_dataset(browser: Browser, server: Server) -> None:
    token = sign_up(server, "typist")
    dataset_id = recordings_without_words(server, token, n=3)
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    sign_in(context, server, token)
    page = context.new_page()
    errors = watch_console(page)
    page.goto(f"{server.base}/datasets/{dataset_id}")
    page.get_by_role("link", name="Transcribe").click()
    page.get_by_role("button", name="Write clips down").dblclick()
    expect(page.get_by_text("3 of 3 clips heard")).to_be_visible(timeout=60_000)
    said = page.get_by_role("button", name="What is said in")
    expect(said).to_have_count(3)
    said.first.focus()
    page.keyboard.press("Enter")
    page.keyboard.type("what was really said")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 clip looked at")).to_be_visible()
    expect(said.nth(1)).to_be_focused()
    page.get_by_role("button", name="All on this page are right").click()
    expect(page.get_by_text("3 clips looked at")).to_be_visible()
    page.reload()
    expect(page.get_by_text("3 clips looked at")).to_be_visible()
    expect(page.get_by_role("button", name="What is said in").first).to_contain_text("what was really said")
    assert axe_violations(page) == []
    page.get_by_role("button", name="Make a dataset").click()
    expect(page.get_by_role("heading", name="Calls, corrected")).to_be_visible()
    page.get_by_role("link", name="Train on this").or_(
        page.get_by_role("button", name="Train on this")
    ).first.wait_for()
    assert errors == []
    context.close()
