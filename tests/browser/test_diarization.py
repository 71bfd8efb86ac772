"""Who speaks when, whole: recordings with RTTM, a tiny model, a few steps in 4 bits, and the timelines."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from scripts.running import Server, axe_violations, watch_console
from tests.browser.conftest import Person
from tests.training import voices

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def _send(api: httpx.Client, kind: str, folder: Path, names: list[str], **body: object) -> str:
    """Make a dataset or a model of files in a folder, as the page's uploader does; returns its id."""
    made = api.post(f"/{kind}", json={"source": {"kind": "upload"}, **body}).raise_for_status().json()
    for name in names:
        content = (folder / name).read_bytes()
        api.put(f"/{kind}/{made['id']}/files/{name}", content=content).raise_for_status()
    return str(made["id"])


@pytest.fixture
def api(server: Server, person: Person) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {person.token}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=60) as opened:
        yield opened


@pytest.fixture
def dataset_id(api: httpx.Client, tmp_path: Path) -> str:
    """Fifteen recordings of two voices, with the turns of each beside it."""
    folder = tmp_path / "voices"
    voices.write_recordings(folder)
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".wav", ".rttm"))
    made = _send(api, "datasets", folder, names, name="Two voices", task="speaker-diarization")
    api.post(f"/datasets/{made}/ingest").raise_for_status()
    return made


@pytest.fixture
def model_id(api: httpx.Client, tmp_path: Path) -> str:
    folder = voices.MAKERS["wav2vec2"](tmp_path / "tiny")
    names = sorted(path.name for path in folder.iterdir())
    made = _send(api, "models", folder, names, name="Tiny ears", task="speaker-diarization")
    api.post(f"/models/{made}/check").raise_for_status()
    return made


def test_from_recordings_with_turns_to_timelines(
    page: Page, server: Server, api: httpx.Client, dataset_id: str, model_id: str
) -> None:
    problems = watch_console(page)
    page.goto(f"{server.base}/models/{model_id}")
    expect(page.get_by_role("heading", name="LoRA targets")).to_be_visible(timeout=60_000)
    page.goto(f"{server.base}/datasets/{dataset_id}")
    expect(page.get_by_text("Ready", exact=True).first).to_be_visible(timeout=60_000)
    page.goto(f"{server.base}/training/new?dataset={dataset_id}&model={model_id}")
    expect(page.get_by_role("complementary", name="Summary")).to_contain_text("Tiny ears")
    page.get_by_label("Epochs", exact=True).fill("3")
    expect(page.get_by_role("complementary", name="Summary")).to_contain_text("3 epochs")
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.get_by_text("Memory, part by part")).to_be_visible()
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/training/job_*")
    expect(page.locator("#content h1")).to_contain_text("Succeeded", timeout=150_000)

    page.goto(f"{page.url.partition('?')[0]}?tab=samples")
    first = page.locator("#content li", has=page.get_by_text("Reference", exact=True)).first
    for name in ("ann", "bob"):
        expect(first.get_by_text(name, exact=True)).to_be_visible()
    expect(first).to_contain_text("DER")
    expect(first.locator("studio-player")).to_be_visible()
    assert axe_violations(page) == []
    assert problems == []
    (adapter,) = api.get("/adapters", params={"query": "Two voices"}).json()["items"]
    assert adapter["metrics"]["der"] >= 0
