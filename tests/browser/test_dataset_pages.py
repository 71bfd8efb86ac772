"""A dataset in a real browser: report, corrections by keyboard, splits, versions, export, augmentation."""

import re
import time
import zipfile
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from scripts.running import Server, axe_violations, watch_console
from tests.browser.conftest import Person
from tests.ingest import sounds
from tests.waiting import wait_for

pytestmark = pytest.mark.browser
MARKUP = "<b>bold</b><img src=x onerror=alert(1)>"


@pytest.fixture
def api(server: Server, person: Person) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {person.token}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def opened(page: Page, server: Server, api: httpx.Client) -> Callable[[str], str]:
    """Makes a dataset of eight clips, two of them the same recording, and opens one of its tabs."""
    files = {f"clip-{i}.wav": sounds.wav(0.6 + 0.1 * i, pitch=200 + 40 * i) for i in range(7)}
    files["clip-7.wav"] = files["clip-0.wav"]
    words = [f"recording number {i}" for i in range(7)] + [MARKUP]
    rows = [f"clip-{i}.wav,{words[i]},speaker {i % 7 % 2},{'test' if i == 3 else 'train'}" for i in range(8)]
    files["metadata.csv"] = ("file_name,text,speaker,split\n" + "\n".join(rows)).encode()
    body = {"name": f"Tabs {MARKUP}", "task": "speech-to-text", "source": {"kind": "upload"}}
    dataset_id = str(api.post("/datasets", json=body).json()["id"])
    for name, content in files.items():
        api.put(f"/datasets/{dataset_id}/files/{name}", content=content).raise_for_status()
    api.post(f"/datasets/{dataset_id}/ingest").raise_for_status()
    page.goto(f"{server.base}/datasets/{dataset_id}")
    expect(page.get_by_role("link", name="Quality")).to_be_visible(timeout=90_000)

    def go(tab: str) -> str:
        page.goto(f"{server.base}/datasets/{dataset_id}?tab={tab}")
        return dataset_id

    return go


def expect_in_use(api: httpx.Client, dataset_id: str, n_clips: int) -> None:
    """The report on the page may be that of a moment ago while it is computed; what counts is stored."""
    deadline = time.monotonic() + 20
    while (found := api.get(f"/datasets/{dataset_id}").json()["n_clips"]) != n_clips:
        assert time.monotonic() < deadline, f"{found} clips are in use, not {n_clips}"


def test_what_the_report_finds_is_left_out_and_taken_back(
    page: Page, opened: Callable[[str], str], api: httpx.Client
) -> None:
    complaints = watch_console(page)
    dataset_id = opened("quality")
    check = page.get_by_role("listitem", name="Same recording")
    expect(check).to_contain_text("2 clips in 1 group")
    assert axe_violations(page) == []
    check.get_by_role("link", name="Show clips").click()
    expect(page).to_have_url(re.compile(r"tab=clips&check=duplicate_audio"))
    expect(page.locator("studio-player")).to_have_count(2)
    expect(page.get_by_text("2 of them").first).to_be_visible()
    page.go_back()
    leave_out = check.get_by_role("button", name="Leave out 1")
    leave_out.dblclick()
    toast = page.get_by_role("listitem").filter(has_text="1 clip left out")
    expect(toast.first).to_be_visible()
    expect(page.get_by_role("heading", name="Left out")).to_be_visible()
    expect(check).to_have_count(0)
    expect_in_use(api, dataset_id, 7)
    toast.get_by_role("button", name="Undo").first.click()
    expect(check).to_be_visible()
    expect_in_use(api, dataset_id, 8)
    check.get_by_role("button", name="Leave out 1").click()
    page.get_by_role("button", name="Undo: Same recording").click()
    expect(check).to_be_visible()
    expect_in_use(api, dataset_id, 8)
    assert complaints == []


def test_a_limit_is_set_and_bounded(page: Page, opened: Callable[[str], str]) -> None:
    opened("quality")
    limit = page.get_by_label("Too short below")
    limit.fill("-4")
    page.get_by_role("button", name="Save: Too short").click()
    expect(page.get_by_role("alert")).to_be_visible()
    limit.fill("0.75")
    page.get_by_role("button", name="Save: Too short").click()
    expect(page.get_by_role("listitem", name="Too short")).to_contain_text("3 clips")


def test_words_are_corrected_by_keyboard(page: Page, opened: Callable[[str], str], api: httpx.Client) -> None:
    complaints = watch_console(page)
    dataset_id = opened("clips")
    first = page.get_by_role("button", name="Words of clip-0.wav: recording number 0")
    second = page.get_by_role("button", name="Words of clip-1.wav: recording number 1")
    first.focus()
    page.keyboard.press("Enter")
    field = page.get_by_role("textbox", name="Words of clip-0.wav")
    expect(field).to_be_focused()
    assert axe_violations(page) == []
    page.keyboard.type("the better words")
    page.keyboard.press("Enter")
    expect(second).to_be_focused()
    expect(page.get_by_role("button", name="Words of clip-0.wav: the better words")).to_be_visible()
    page.keyboard.press("Enter")
    page.keyboard.type("never kept")
    page.keyboard.press("Escape")
    expect(second).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("button", name=re.compile("Words of clip-0.wav"))).to_be_focused()
    expect(page.get_by_text(MARKUP, exact=True).first).to_be_visible()
    split = page.get_by_role("button", name="Split of clip-1.wav: Train")
    split.dblclick()
    chooser = page.get_by_role("combobox", name="Split of clip-1.wav")
    chooser.select_option("validation")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Split of clip-1.wav: Validation")).to_be_visible()
    kept = [("the better words", "train"), ("recording number 1", "validation")]

    def are_kept() -> bool:  # a cell shows what was sent before the answer is there
        found = api.get(f"/datasets/{dataset_id}/clips?sort=filename").json()["items"]
        return [(c["text"], c["split"]) for c in found[:2]] == kept

    wait_for(are_kept, what="both corrections to be kept")
    assert api.get(f"/datasets/{dataset_id}").json()["version"] == 3
    assert complaints == []


def test_a_clip_is_looked_at_closely_left_out_and_taken_back(
    page: Page, opened: Callable[[str], str], api: httpx.Client
) -> None:
    dataset_id = opened("clips")
    page.get_by_role("button", name="clip-2.wav", exact=True).click()
    image = page.get_by_role("img", name="Mel spectrogram of clip-2.wav")
    expect(image).to_be_visible()
    page.wait_for_function("() => document.querySelector('figure img')?.naturalWidth > 0")
    assert axe_violations(page) == []
    page.get_by_role("button", name="Actions for clip-2.wav").click()
    page.get_by_role("menuitem", name="Leave out").click()
    expect(page.get_by_text("Left out by hand")).to_be_visible()
    expect_in_use(api, dataset_id, 7)
    page.get_by_role("button", name="Actions for clip-2.wav").click()
    page.get_by_role("menuitem", name="Take back").click()
    expect(page.get_by_text("Left out by hand")).to_have_count(0)
    expect_in_use(api, dataset_id, 8)


def test_a_split_is_previewed_then_applied(
    page: Page, opened: Callable[[str], str], api: httpx.Client
) -> None:
    complaints = watch_console(page)
    dataset_id = opened("overview")
    expect(page.get_by_role("img", name=re.compile("Lengths of the clips"))).to_be_visible()
    assert axe_violations(page) == []
    page.get_by_role("button", name="Change").click()
    apply = page.get_by_role("button", name="Apply")
    expect(apply).to_be_disabled()
    page.get_by_label("Validation").fill("50")
    page.get_by_role("button", name="Preview").click()
    preview = page.get_by_role("table", name="Preview")
    expect(preview.get_by_role("row", name=re.compile("^Validation"))).to_contain_text("4 (50 %)")
    assert api.get(f"/datasets/{dataset_id}").json()["version"] == 1
    speakers = page.get_by_label("Keep speakers on one side")
    speakers.check()
    expect(apply).to_be_disabled()
    page.get_by_role("button", name="Preview").click()
    expect(preview.get_by_role("row", name=re.compile("^Train"))).to_contain_text("5 (62 %)")
    speakers.uncheck()
    expect(apply).to_be_disabled()
    page.get_by_role("button", name="Preview").click()
    expect(apply).to_be_enabled()
    assert axe_violations(page) == []
    apply.dblclick()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("4 clips, ").first).to_be_visible()
    assert api.get(f"/datasets/{dataset_id}").json()["version"] == 2
    assert complaints == []


def test_versions_are_compared_and_restored(
    page: Page, opened: Callable[[str], str], api: httpx.Client
) -> None:
    complaints = watch_console(page)
    dataset_id = opened("overview")
    found = api.get(f"/datasets/{dataset_id}/clips?sort=filename").json()["items"]
    api.patch(f"/clips/{found[0]['id']}", json={"text": "recording no. 0"}).raise_for_status()
    api.patch(f"/clips/{found[1]['id']}", json={"status": "excluded"}).raise_for_status()
    opened("versions")
    expect(page.get_by_role("row")).to_have_count(4)
    assert axe_violations(page) == []
    page.get_by_label("Compare").fill("1")
    page.get_by_label("with").fill("3")
    page.get_by_role("button", name="Compare").click()
    expect(page).to_have_url(re.compile("earlier=1&later=3"))
    differences = page.get_by_role("list", name="Differences")
    expect(differences.locator("del")).to_have_text("number")
    expect(differences.locator("ins")).to_have_text("no.")
    expect(differences).to_contain_text("Removed")
    assert axe_violations(page) == []
    page.get_by_role("button", name="Removed").click()
    expect(differences.get_by_role("listitem")).to_have_count(1)
    page.get_by_role("link", name="All versions").click()
    page.get_by_role("button", name="Actions for version 1").click()
    page.get_by_role("menuitem", name="Restore").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Restore").click()
    expect(page.get_by_role("cell", name="Version 1 restored")).to_be_visible()
    now = api.get(f"/datasets/{dataset_id}").json()
    assert (now["version"], now["n_clips"]) == (4, 8)
    assert complaints == []


def test_an_export_is_downloaded(page: Page, opened: Callable[[str], str], tmp_path) -> None:
    opened("overview")
    page.get_by_role("button", name="Export").click()
    expect(page.get_by_text("8 clips, about")).to_be_visible()
    expect(page.get_by_text(re.compile("qlora-studio train .*yaml"))).to_be_visible()
    assert axe_violations(page) == []
    with page.expect_download() as arriving:
        page.get_by_role("link", name="Download").click()
    arriving.value.save_as(tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        assert sum(name.endswith(".wav") for name in archive.namelist()) == 8
    page.get_by_role("button", name="CSV").click()
    with page.expect_download() as arriving:
        page.get_by_role("link", name="Download").click()
    assert arriving.value.suggested_filename.endswith(".csv")


def test_an_augmentation_is_heard_and_saved(
    page: Page, opened: Callable[[str], str], api: httpx.Client
) -> None:
    complaints = watch_console(page)
    dataset_id = opened("augment")
    page.get_by_role("switch", name="Noise").click()
    chance = page.locator("#noise-probability")
    chance.fill("100")
    with page.expect_response(re.compile("/augmented")) as answer:
        page.get_by_role("button", name="Another draw").click()
    assert answer.value.ok
    for name in ("the original", "with augmentation"):
        page.get_by_role("button", name=f"Play {name}").click()
        expect(page.get_by_role("button", name=f"Pause {name}")).to_be_visible()
        expect(page.get_by_role("button", name=f"Play {name}")).to_be_visible()
    assert axe_violations(page) == []
    assert api.get(f"/datasets/{dataset_id}").json()["augmentation"] == {}
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved for the next jobs")).to_be_visible()
    kept = api.get(f"/datasets/{dataset_id}").json()["augmentation"]
    assert kept["noise"]["probability"] == 1
    page.reload()
    expect(page.get_by_role("switch", name="Noise")).to_be_checked()
    assert complaints == []


@pytest.mark.parametrize("width", [390, 820])
def test_no_tab_scrolls_sideways(page: Page, opened: Callable[[str], str], width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for tab in ("overview", "clips", "quality", "versions", "augment"):
        opened(tab)
        expect(page.get_by_role("link", name="Quality")).to_be_visible()
        page.wait_for_function("() => !document.querySelector('.skeleton')")
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0, tab
        assert axe_violations(page) == [], tab


def test_dialogs_fit_a_phone(page: Page, opened: Callable[[str], str]) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened("overview")
    page.get_by_role("button", name="Change").click()
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("table", name="Preview")).to_be_visible()
    _fits(page)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Export").click()
    expect(page.get_by_text("8 clips, about")).to_be_visible()
    _fits(page)


def _fits(page: Page) -> None:
    box = page.get_by_role("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
