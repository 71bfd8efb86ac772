"""A real model in a real browser: a file and the microphone, with and without an adapter."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlmodel import Session, select

from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import Adapter, BaseAudioModel, User
from qlora_studio.examples import catalog
from scripts.running import Server, axe_violations, sign_in, sign_up, watch_console
from tests.engine import adapters
from tests.ingest import sounds
from tests.training import tiny

pytestmark = pytest.mark.browser
CLIPS = Path(catalog.starter_model_path()).parent / "prompts-en" / "clips"


@pytest.fixture(scope="module")
def owner(server: Server) -> str:
    return sign_up(server, "listener")


@pytest.fixture(scope="module")
def model_id(server: Server, owner: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The starter, with an adapter of random weights."""
    headers = {"Authorization": f"Bearer {owner}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=60) as api:
        made = api.post("/models", json={"source": {"kind": "starter"}}).raise_for_status().json()
    engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
    with Session(engine) as session:
        model = session.get_one(BaseAudioModel, made["id"])
        user = session.exec(select(User).where(User.username == "listener")).one()
        folder = tmp_path_factory.mktemp("adapter")
        clips = tiny.write_clips(folder / "clips", n_train=2)
        adapters.make_adapter(tiny.make_spec(folder, Path(model.path), clips), folder / "adapter")
        path = str(folder / "adapter")
        session.add(Adapter(owner_id=user.id, name="Random", base_model_id=model.id, path=path))
        session.commit()
    engine.dispose()
    return str(made["id"])


@pytest.fixture
def page(browser: Browser, server: Server, owner: str, model_id: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    context.grant_permissions(["microphone"], origin=server.base)
    sign_in(context, server, owner)
    opened = context.new_page()
    opened.goto(f"{server.base}/models/{model_id}")
    yield opened
    context.close()


def test_a_chosen_clip_is_written_down_with_and_without_the_adapter(page: Page) -> None:
    problems = watch_console(page)
    chosen = page.locator("studio-trial-clip input[type=file]")
    chosen.set_input_files(CLIPS / "agent-incorrect.flac")
    results = page.locator("#try article")
    expect(results).to_have_count(1, timeout=120_000)
    expect(results.first).to_contain_text("Base model")
    expect(results.first.get_by_role("button", name="Copy transcript")).to_be_visible()
    page.get_by_label("With").select_option("Random")
    page.get_by_role("slider", name="Strength").fill("0.5")
    expect(page.locator("#try-strength")).to_have_value("0.5")
    compare = page.get_by_label("Compare with the base model")
    compare.click()
    expect(compare).to_be_checked()  # once the server has said so
    transcribe = page.get_by_role("button", name="Transcribe")
    transcribe.dblclick()
    expect(results).to_have_count(2, timeout=60_000)
    expect(results.first).to_contain_text("strength 0.5")
    assert axe_violations(page) == []
    assert problems == []


def test_the_microphone_is_heard(page: Page, server: Server) -> None:
    page.get_by_role("button", name="Record").click()
    stop = page.get_by_role("button", name="Stop and use")
    expect(page.locator(".trial-time")).to_have_text("0:01")
    stop.click()
    expect(page.locator("studio-trial-clip studio-player")).to_be_visible()
    expect(page.locator("#try article")).to_have_count(1, timeout=120_000)
    page.get_by_role("button", name="Another clip").click()
    expect(page.get_by_role("button", name="Record")).to_be_visible()
    expect(page.locator("#try article")).to_have_count(0)
    assert not list((server.data_path / "trials").rglob("*.upload"))


def test_what_is_no_recording_is_refused_in_place(page: Page, tmp_path: Path) -> None:
    (tmp_path / "page.wav").write_bytes(b"<html></html>")
    page.locator("studio-trial-clip input[type=file]").set_input_files(tmp_path / "page.wav")
    expect(page.locator("studio-trial-clip [role=alert]")).to_contain_text("web page")
    (tmp_path / "tone.wav").write_bytes(sounds.wav(1.0))
    page.locator("studio-trial-clip input[type=file]").set_input_files(tmp_path / "tone.wav")
    expect(page.locator("#try article")).to_have_count(1, timeout=120_000)
