"""A model's folder sent from the browser: checked, refused in place, put right, ready."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from scripts.running import Server, axe_violations, watch_console
from tests.modelfiles.build import whisper_folder

pytestmark = pytest.mark.browser


def test_a_folder_is_sent_refused_and_put_right(page: Page, server: Server, tmp_path: Path) -> None:
    problems = watch_console(page)
    folder = whisper_folder(tmp_path / "tiny")
    good = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(b"\x80\x04 not weights")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    page.goto(f"{server.base}/models/new?source=upload")
    page.get_by_label("Folder to upload").set_input_files(folder)
    expect(page.get_by_role("alert").filter(has_text="pytorch_model.bin")).to_be_visible()
    page.get_by_label("Name").fill("Sent from here")
    page.get_by_role("button", name="Upload and check").click()
    refusal = page.get_by_role("alert").filter(has_text="pickle")
    expect(refusal).to_be_visible(timeout=60_000)
    assert axe_violations(page) == []
    (tmp_path / "model.safetensors").write_bytes(good)
    page.get_by_label("Files to upload").set_input_files(tmp_path / "model.safetensors")
    n_files = len(list(folder.iterdir())) - 1
    check = page.get_by_role("button", name=f"Check {n_files} files")
    check.click()
    expect(page.get_by_text("Ready", exact=True)).to_be_visible(timeout=60_000)
    expect(page.get_by_role("heading", name="Sent from here")).to_be_visible()
    assert problems == []
