"""The first run, whole: from signing up to a better model and its adapter in plain peft.

Everything here is real: the example's recordings, the starter's weights, 4-bit training in the worker.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scripts.running import PASSWORD, Server, watch_console

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
EPOCHS = 4  # fewer than the wizard proposes: enough to see the error rate fall, quick enough for every change


def sign_up(page: Page, server: Server) -> None:
    page.goto(f"{server.base}/signup")
    for name, value in (("username", "ada"), ("email", "ada@example.org")):
        page.fill(f"#{name}", value)
    page.fill("#password", PASSWORD)
    page.fill("#confirm", PASSWORD)
    page.click("button[type=submit]")
    expect(page.get_by_role("heading", name="Dashboard", level=1)).to_be_visible()


def launch(page: Page) -> None:
    """From the dashboard's three steps to the job's page, with the wizard's presets but for the length."""
    page.get_by_role("button", name="Add example dataset").click()
    page.get_by_role("button", name="Add starter model").click()
    page.get_by_role("listitem").get_by_role("link", name="Start training").click(timeout=60_000)
    page.wait_for_url("**/training/new**")
    # Both are chosen already, so the wizard opens at its third step; the first two are a click away.
    summary = page.get_by_role("complementary", name="Summary")
    expect(summary).to_contain_text("English telephone prompts")
    expect(summary).to_contain_text("Starter")
    page.get_by_label("Epochs", exact=True).fill(str(EPOCHS))
    expect(summary).to_contain_text(f"{EPOCHS} epochs")
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.get_by_text("Memory, part by part")).to_be_visible()
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/training/job_*")


def watch_the_curve_move(page: Page) -> None:
    """The chart gains points on the open page; nothing is reloaded."""
    page.evaluate("() => { window.notReloaded = true }")
    points = "Number(document.querySelector('.live-chart')?.dataset.points ?? 0)"
    page.wait_for_function(f"() => {points} > 3", timeout=180_000)
    seen = page.evaluate(f"() => {points}")
    page.wait_for_function(f"() => {points} > {seen} + 5", timeout=60_000)
    assert page.evaluate("() => window.notReloaded")


def adapter_of(page: Page, folder: Path) -> Path:
    """Download the results as the page offers them, and unpack the adapter."""
    with page.expect_download() as download:
        page.get_by_role("link", name="Download results").click()
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    archive.extractall(folder)
    return next(folder.rglob("adapter_model.safetensors")).parent


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an older name
def test_from_sign_up_to_a_better_model(
    own_server: Callable[..., Server], context: BrowserContext, tmp_path: Path
) -> None:
    page = context.new_page()
    complaints = watch_console(page)
    server = own_server()
    sign_up(page, server)
    launch(page)
    job_id = page.url.rpartition("/")[2]
    watch_the_curve_move(page)
    expect(page.locator("#content h1")).to_contain_text("Succeeded", timeout=600_000)

    job = page.request.get(f"{server.base}/api/v1/jobs/{job_id}").json()
    adapter = page.request.get(f"{server.base}/api/v1/adapters/{job['adapter_id']}").json()
    before, after = adapter["base_metrics"]["wer"], adapter["metrics"]["wer"]
    print(f"word error rate {before:.3f} -> {after:.3f}")
    assert after < before
    expect(page.locator("#metric-now")).to_contain_text("%")
    assert complaints == []

    loads_in_plain_peft(adapter_of(page, tmp_path / "results"))


def loads_in_plain_peft(folder: Path) -> None:
    """What a stranger does with the folder, as its card says: stock transformers, bitsandbytes and peft."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCTC, BitsAndBytesConfig

    from qlora_studio.examples.catalog import STARTER_MODEL

    quantization = json.loads((folder / "qlora_studio.json").read_text())["quantization"]
    quantization.pop("bnb_4bit_compute_dtype")  # float32, the library's default, in a form of its own
    base = AutoModelForCTC.from_pretrained(
        STARTER_MODEL.path, dtype=torch.float32, quantization_config=BitsAndBytesConfig(**quantization)
    )
    assert any(type(module).__name__ == "Linear4bit" for module in base.modules())
    model = PeftModel.from_pretrained(base, folder)
    moved = [p for name, p in model.named_parameters() if "lora_B" in name and p.abs().max() > 0]
    assert moved, "the adapter's weights are all zero"
