"""Adapters in a real browser: one from elsewhere is taken in, merged, and becomes a base model."""

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from sqlmodel import Session, select

from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import Adapter, BaseAudioModel, User
from scripts.running import Server, axe_violations, watch_console
from tests.browser.conftest import Person
from tests.engine import adapters
from tests.state.test_certificates import certificate
from tests.training import tiny

pytestmark = pytest.mark.browser


@pytest.fixture
def model(server: Server, person: Person) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {person.token}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=60) as api:
        return api.post("/models", json={"source": {"kind": "starter"}}).raise_for_status().json()


@pytest.fixture
def packed(server: Server, model: dict[str, Any], tmp_path: Path) -> Path:
    """A zip of an adapter with random weights."""
    engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
    with Session(engine) as session:
        model_path = Path(session.get_one(BaseAudioModel, model["id"]).path)
    engine.dispose()
    clips = tiny.write_clips(tmp_path / "clips", n_train=2)
    adapters.make_adapter(tiny.make_spec(tmp_path, model_path, clips), tmp_path / "adapter")
    with zipfile.ZipFile(tmp_path / "theirs.zip", "w") as archive:
        for path in (tmp_path / "adapter").iterdir():
            archive.write(path, f"theirs/{path.name}")
    return tmp_path / "theirs.zip"


def _look(page: Page, name: str) -> None:
    """Pictures for a person, where they are asked for."""
    folder = os.environ.get("QLORA_STUDIO_PICTURES")
    for width in (390, 820, 1440) if folder else ():
        for scheme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=f"{folder}/{name}-{width}-{scheme}.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 860})


def test_an_adapter_from_elsewhere_is_taken_in_merged_and_added_as_a_base_model(
    page: Page, server: Server, packed: Path, tmp_path: Path
) -> None:
    problems = watch_console(page)
    page.goto(f"{server.base}/adapters")
    page.get_by_role("button", name="Import adapter").click()
    chosen = page.locator("studio-adapter-import input[type=file]")
    (tmp_path / "text.zip").write_text("no zip")
    chosen.set_input_files(tmp_path / "text.zip")
    expect(page.locator("studio-adapter-import [role=alert]")).to_contain_text("no zip")
    problems.clear()  # the browser notes every refused request
    _look(page, "import")
    page.get_by_label("Name").fill("From elsewhere")
    chosen.set_input_files(packed)
    page.wait_for_url(re.compile(r"/adapters/ada_"))
    expect(page.get_by_role("heading", name=re.compile("From elsewhere"))).to_be_visible()
    expect(page.get_by_text("theirs.zip")).to_be_visible()

    page.get_by_role("button", name="Merge into a full model").click()
    merged = page.locator("#merge")
    expect(merged.get_by_role("button", name="Cancel")).to_be_visible()
    expect(merged).to_contain_text("The same outputs", timeout=240_000)
    assert axe_violations(page) == []
    _look(page, "merged")
    merged.get_by_role("button", name="Add as base model").click()
    page.wait_for_url(re.compile(r"/models/mod_"))
    expect(page.get_by_text("An adapter merged into its base")).to_be_visible()
    assert problems == []


def test_the_certificate_says_what_it_rests_on(
    page: Page, server: Server, person: Person, model: dict[str, Any]
) -> None:
    engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
    with Session(engine) as session:
        user = session.exec(select(User).where(User.username == person.name)).one()
        adapter = Adapter(
            owner_id=user.id,
            name="Judged",
            base_model_id=model["id"],
            path="/nowhere",
            metrics={"wer": 0.3},
            base_metrics={"wer": 0.5},
            certificate=certificate().model_dump(mode="json"),
        )
        session.add(adapter)
        session.commit()
        address = f"{server.base}/adapters/{adapter.id}"
    engine.dispose()
    page.goto(f"{server.base}/adapters")
    expect(page.get_by_role("row", name=re.compile("Judged"))).to_contain_text("Improved")
    page.goto(address)
    expect(page.locator("#verdict")).to_contain_text("Fewer wrong words.")
    page.get_by_text("What this rests on").click()
    expect(page.get_by_text("50.0 % → 30.0 %").first).to_be_visible()
    expect(page.get_by_text("a.q_proj")).to_be_visible()
    assert axe_violations(page) == []
    _look(page, "certificate")
