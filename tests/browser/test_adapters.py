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
from qlora_studio.db.models import Adapter, BaseAudioModel, Generation, User
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
    expect(page.get_by_text("theirs.zip").first).to_be_visible()

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


def test_an_adapter_is_sorted_in_made_the_default_and_followed_back(
    page: Page, server: Server, person: Person, model: dict[str, Any], tmp_path: Path
) -> None:
    engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
    with Session(engine, expire_on_commit=False) as session:
        user = session.exec(select(User).where(User.username == person.name)).one()
        (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
        made = {"owner_id": user.id, "base_model_id": model["id"], "path": str(tmp_path)}
        made["size_bytes"] = 123_456
        quiet = Adapter(name="Quiet rooms", dataset_version=2, metrics={"wer": 0.3}, **made)
        session.add(quiet)
        session.commit()
        judged = certificate().model_dump(mode="json") | {"verdict": "broken"}
        session.add(Adapter(name="Loud halls", stage="production", certificate=judged, **made))
        session.add(
            Generation(
                owner_id=user.id, prompt="rain", model_id=model["id"], model_name="m", adapter_id=quiet.id,
                duration_s=1, seed=1, n_takes=3, n_done=3, guidance=3, temperature=1, status="succeeded",
            )
        )  # fmt: skip
        session.commit()
    engine.dispose()
    problems = watch_console(page)
    page.goto(f"{server.base}/adapters/{quiet.id}")
    lineage = page.get_by_role("list", name="Lineage")
    for step in ("Dataset deleted", "Job deleted", "Quiet rooms", "1 generation"):
        expect(lineage).to_contain_text(step)
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Tags").fill("Night, far away")
    page.get_by_role("textbox", name="Notes").fill("For the museum.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("For the museum.")).to_be_visible()
    page.get_by_label("Stage").select_option("production")
    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("Loud halls")
    dialog.get_by_role("button", name="Put into production").click()
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Activate").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("slider").fill("0.5")
    expect(dialog.get_by_role("textbox")).to_have_value("0.5")
    dialog.get_by_role("button", name="Activate").click()
    expect(page.locator("#activation")).to_contain_text("Active, strength 0.5")
    assert axe_violations(page) == []
    _look(page, "adapter")

    page.get_by_role("link", name="Try it").click()
    expect(page.get_by_role("combobox", name="With")).to_have_value(quiet.id)
    expect(page.get_by_role("slider", name="Strength")).to_have_value("0.5")

    page.goto(f"{server.base}/adapters?stage=candidate&view=cards")
    card = page.get_by_role("list", name="Adapters").get_by_role("listitem")
    expect(card).to_contain_text("Loud halls")
    page.get_by_role("button", name="Clear search and filters").or_(
        page.get_by_role("button", name="Remove the filter")
    ).first.click()
    expect(page.get_by_role("article")).to_have_count(2)
    assert axe_violations(page) == []
    _look(page, "adapters-cards")
    page.get_by_role("button", name="Show as a table").click()
    page.get_by_label("Filter by tags").select_option("night")
    expect(page).to_have_url(re.compile("tag=night"))
    expect(page.get_by_role("row", name=re.compile("Loud halls"))).to_have_count(0)
    expect(page.get_by_role("row", name=re.compile("Quiet rooms"))).to_contain_text("Active, strength 0.5")
    _look(page, "adapters-table")
    page.get_by_label("Filter by tags").select_option("")
    page.get_by_role("row", name=re.compile("Loud halls")).get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1, name="Loud halls")).to_be_visible()  # not the one before
    page.get_by_role("button", name="Activate").click()
    dialog.get_by_role("button", name="Activate").click()
    expect(dialog).to_contain_text("is broken")
    _look(page, "activate-broken")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Archive").click()
    expect(page.locator("#activation")).to_contain_text("Archived")
    assert problems == []
