"""From a folder on the server to a finished job, in a real browser, with the toy worker."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from playwright.sync_api import BrowserContext, Page, expect

from scripts.running import Server, axe_violations, sign_in, sign_up, start_server, watch_console
from tests.modelfiles.build import whisper_folder
from tests.training.tiny import make_whisper

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may read folders with models and recordings, and trains with the toy worker."""
    root = tmp_path_factory.mktemp("root")
    whisper_folder(root / "tiny")
    refused = whisper_folder(root / "pickled")
    (refused / "model.safetensors").rename(refused / "pytorch_model.bin")
    (root / "recordings").mkdir()
    rng = np.random.default_rng(0)
    for index in range(10):
        soundfile.write(root / "recordings" / f"{index}.wav", 0.1 * rng.standard_normal(8000), 16_000)
        (root / "recordings" / f"{index}.txt").write_text(f"word number {index}")
    server = start_server(
        tmp_path_factory.mktemp("workshop"),
        QLORA_STUDIO_MODEL_ROOTS=str(root),
        QLORA_STUDIO_DATASET_ROOTS=str(root),
        QLORA_STUDIO_WORKER="toy",
    )
    server.root = root  # type: ignore[attr-defined]
    yield server
    server.stop()


@pytest.fixture
def studio(context: BrowserContext, workshop: Server, request: pytest.FixtureRequest) -> Page:
    """A window signed in as somebody new, with one dataset ready."""
    token = sign_up(workshop, f"w{abs(hash(request.node.name)) % 10**8}")
    sign_in(context, workshop, token)
    headers = {"Authorization": f"Bearer {token}"}
    source = {"kind": "folder", "path": str(root_of(workshop) / "recordings")}
    made = httpx.post(
        f"{workshop.base}/api/v1/datasets", json={"name": "Words", "source": source}, headers=headers
    )
    assert made.status_code == 201, made.text
    _wait_until_ready(f"{workshop.base}/api/v1/datasets/{made.json()['id']}", headers)
    return context.new_page()


def _wait_until_ready(address: str, headers: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while httpx.get(address, headers=headers).json()["status"] != "ready":
        assert time.monotonic() < deadline, "the recordings were not taken in"
        time.sleep(0.1)


def root_of(server: Server) -> Path:
    return server.root  # type: ignore[attr-defined]


def add_model(page: Page, server: Server, folder: str) -> None:
    page.goto(f"{server.base}/models")
    page.get_by_role("link", name="Add your own").click()
    page.get_by_role("button", name="Server folder").click()
    page.get_by_label("Folder", exact=True).fill(str(root_of(server) / folder))
    page.get_by_role("button", name="Check and add").click()


def test_a_model_is_added_or_refused_with_the_reason(studio: Page, workshop: Server) -> None:
    complaints = watch_console(studio)
    add_model(studio, workshop, "pickled")
    expect(studio.get_by_text("a format that can run code")).to_be_visible()
    studio.get_by_label("Folder", exact=True).fill("/etc")
    studio.get_by_role("button", name="Check and add").click()
    expect(studio.get_by_text("outside the allowed model folders")).to_be_visible()
    studio.get_by_label("Folder", exact=True).fill(str(root_of(workshop) / "tiny"))
    studio.get_by_role("button", name="Check and add").click()
    expect(studio.get_by_role("heading", name="LoRA targets")).to_be_visible()
    expect(studio.get_by_text("Weights are safetensors")).to_be_visible()
    assert axe_violations(studio) == []
    assert complaints == []


def test_four_steps_to_a_finished_job(studio: Page, workshop: Server) -> None:
    complaints = watch_console(studio)
    add_model(studio, workshop, "tiny")
    studio.get_by_role("link", name="Train this model").click()
    studio.get_by_role("button", name="Words").click()
    expect(studio.get_by_text("Validation, held out to measure")).to_be_visible()
    next_step = studio.get_by_role("button", name="Next", exact=True)
    next_step.click()
    expect(studio.get_by_role("button", name="tiny")).to_have_attribute("aria-pressed", "true")
    next_step.click()
    studio.get_by_label("Rank", exact=True).fill("0")
    studio.get_by_label("Epochs", exact=True).fill("many")
    next_step.click()
    expect(studio.locator("#qlora-rank-error")).to_be_visible()
    expect(studio.locator("#optimization-epochs-error")).to_contain_text("Give a number")
    studio.reload()
    expect(studio.get_by_label("Rank", exact=True)).to_have_value("0")
    expect(studio.get_by_label("Epochs", exact=True)).to_have_value("many")
    studio.get_by_label("Rank", exact=True).fill("8")
    studio.get_by_label("Epochs", exact=True).fill("2")
    assert axe_violations(studio) == []
    next_step.click()
    expect(studio.get_by_text("Memory, part by part")).to_be_visible()
    expect(studio.get_by_text("rank: 8")).to_be_visible()
    assert axe_violations(studio) == []
    studio.get_by_role("button", name="Start training").dblclick()
    studio.wait_for_url("**/training/job_*")
    expect(studio.get_by_text("Succeeded").first).to_be_visible(timeout=60_000)
    studio.goto(f"{workshop.base}/training")
    expect(studio.get_by_role("row")).to_have_count(2)  # the heading and one job: two clicks, one launch
    assert complaints == []


def test_one_step_is_tried_called_off_refused_and_tried_again(studio: Page, workshop: Server) -> None:
    complaints = watch_console(studio)
    make_whisper(root_of(workshop) / "real")
    add_model(studio, workshop, "real")
    studio.get_by_role("link", name="Train this model").click()
    studio.get_by_role("button", name="Words").click()
    next_step = studio.get_by_role("button", name="Next", exact=True)
    expect(studio.get_by_text("Validation, held out to measure")).to_be_visible()
    next_step.click()
    expect(studio.get_by_role("button", name="real")).to_have_attribute("aria-pressed", "true")
    next_step.click()
    studio.get_by_label("Rank", exact=True).fill("4")
    next_step.click()
    tried = studio.locator("#rehearsal")
    start = tried.get_by_role("button", name="Try one step")
    start.dblclick()  # two clicks, one try
    expect(tried.get_by_role("status")).to_be_visible()
    tried.get_by_role("button", name="Cancel").click()
    expect(tried.get_by_text("Cancelled.")).to_be_visible()
    weights = root_of(workshop) / "real" / "model.safetensors"
    aside = weights.rename(weights.with_suffix(".aside"))
    start.click()
    expect(tried.get_by_role("alert")).to_contain_text("model.safetensors", timeout=30_000)
    assert axe_violations(studio) == []
    aside.rename(weights)
    start.click()
    expect(tried.get_by_text("One step works. All 10 clips can be read.")).to_be_visible(timeout=90_000)
    for name, has_forecast in (("Memory", True), ("One step", False), ("All steps at this pace", True)):
        cells = tried.get_by_role("row", name=name).get_by_role("cell").all_inner_texts()
        assert (cells[0] != "–", cells[1][0].isdigit()) == (has_forecast, True), (name, cells)
    assert axe_violations(studio) == []
    assert complaints == []


def test_cancel_asks_and_throws_the_draft_away(studio: Page, workshop: Server) -> None:
    studio.goto(f"{workshop.base}/training/new")
    studio.get_by_role("button", name="Words").click()
    expect(studio.get_by_role("button", name="Words")).to_have_attribute("aria-pressed", "true")
    studio.get_by_role("button", name="Cancel").click()
    dialog = studio.get_by_role("alertdialog")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).not_to_be_visible()
    studio.get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Throw away").click()
    studio.wait_for_url("**/training")
    studio.goto(f"{workshop.base}/training/new")
    expect(studio.get_by_role("button", name="Words")).to_have_attribute("aria-pressed", "false")
