"""Bringing recordings, in a real browser: form, upload, processing, listening, correcting, deleting."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from scripts.running import Server, axe_violations, watch_console
from tests.browser.conftest import Person
from tests.ingest import sounds

pytestmark = pytest.mark.browser
CHOOSER = "input[aria-label='Files to upload']"


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    """Six clips with words in a table, one that is text, and a row whose file is missing."""
    files = {f"clip-{i}.wav": sounds.wav(0.6, pitch=200 + 40 * i) for i in range(6)}
    rows = [f"clip-{i}.wav,recording number {i}" for i in range(6)] + ["broken.wav,x", "gone.wav,y"]
    files["metadata.csv"] = ("file_name,text\n" + "\n".join(rows)).encode()
    files["broken.wav"] = b"this is no sound"
    sounds.write(tmp_path, files)
    return [str(tmp_path / name) for name in files]


def make(page: Page, server: Server, name: str, files: list[str]) -> None:
    page.goto(f"{server.base}/datasets/new")
    expect(page.get_by_text("Drop recordings here")).to_be_visible()
    page.set_input_files(CHOOSER, files)
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create and upload").click()


def test_from_files_to_clips_that_can_be_heard(page: Page, server: Server, recordings: list[str]) -> None:
    complaints = watch_console(page)
    page.goto(f"{server.base}/datasets")
    page.get_by_role("link", name="Add your own").click()
    page.get_by_role("button", name="Create and upload").click()
    expect(page.get_by_text("Give it a name")).to_be_visible()
    expect(page.get_by_label("Name")).to_be_focused()
    page.set_input_files(CHOOSER, recordings)
    expect(page.get_by_text("8 files chosen")).to_be_visible()
    assert axe_violations(page) == []
    page.get_by_label("Name").fill("Call centre")
    page.get_by_role("button", name="Create and upload").click()
    page.get_by_role("button", name="Use this").click(timeout=60_000)
    expect(page.get_by_text("What could not be used")).to_be_visible(timeout=60_000)
    for kind in ("Missing file", "Not audio"):
        expect(page.get_by_text(kind, exact=True)).to_be_visible()
    expect(page.get_by_text("5 clips")).to_be_visible()
    assert axe_violations(page) == []
    page.get_by_role("link", name="Show them").click()
    expect(page.get_by_text("Not audio: it holds text.")).to_be_visible()
    expect(page).to_have_url(f"{page.url.partition('?')[0]}?tab=clips&status=rejected")
    page.get_by_role("button", name="Remove the filter statuses").click()
    _hear(page)
    assert complaints == []


def _hear(page: Page) -> None:
    player = page.locator("studio-player").first
    player.get_by_role("button", name="Play clip-0.wav").click()
    expect(player.get_by_role("button", name="Pause clip-0.wav")).to_be_visible()
    expect(player.get_by_role("button", name="Play clip-0.wav")).to_be_visible()
    position = player.get_by_role("slider")
    position.focus()
    page.keyboard.press("End")
    expect(position).to_have_attribute("aria-valuenow", "0.6")
    page.keyboard.press("Home")
    expect(position).to_have_attribute("aria-valuenow", "0.0")


def test_a_second_file_of_the_same_name_is_not_lost_in_silence(
    page: Page, server: Server, tmp_path: Path
) -> None:
    for folder in ("male", "female"):
        (tmp_path / "voices" / folder).mkdir(parents=True)
        sounds.write(tmp_path / "voices" / folder, {"one.wav": sounds.wav(0.3 if folder == "male" else 0.4)})
    both = sorted((tmp_path / "voices").rglob("*.wav"))
    page.goto(f"{server.base}/datasets/new")
    page.set_input_files(CHOOSER, [str(path) for path in both])
    expect(page.get_by_text("1 file chosen")).to_be_visible()
    expect(page.get_by_text("1 other file was not added: its name is taken (one.wav)")).to_be_visible()
    page.reload()
    page.set_input_files("input[aria-label='Folder to upload']", str(tmp_path / "voices"))
    expect(page.get_by_text("2 files chosen")).to_be_visible()
    expect(page.get_by_text("not added")).to_have_count(0)


@pytest.mark.fault("F20", "the connection drops in an upload", "taken up where it broke off")
def test_a_dropped_connection_is_taken_up_again(page: Page, server: Server, recordings: list[str]) -> None:
    failures = 3

    def drop_some(route: Route) -> None:
        nonlocal failures
        failures -= 1
        route.abort() if failures >= 0 else route.continue_()

    page.route("**/api/v1/datasets/*/files/*", drop_some)
    make(page, server, "Train tunnel", recordings)
    page.get_by_role("button", name="Use this").click(timeout=60_000)
    expect(page.get_by_text("What could not be used")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("5 clips")).to_be_visible()
    assert failures < 0


def test_a_refused_archive_says_why_and_can_be_replaced(page: Page, server: Server, tmp_path: Path) -> None:
    sounds.write(tmp_path, {"evil.zip": sounds.zipped({"../x.wav": b"1"})})
    good = {
        "set/a.wav": sounds.wav(0.3),
        "set/a.txt": b"one",
        "set/b.wav": sounds.wav(0.4),
        "set/b.txt": b"two",
    }
    sounds.write(tmp_path, {"good.zip": sounds.zipped(good)})
    make(page, server, "Zips", [str(tmp_path / "evil.zip")])
    alert = page.get_by_role("alert").filter(has_text="points outside the archive")
    expect(alert).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Remove evil.zip").click()
    page.set_input_files(CHOOSER, str(tmp_path / "good.zip"))
    page.get_by_role("button", name="Process 1 file").click()
    expect(page.get_by_text("Every file could be used.")).to_be_visible(timeout=60_000)


def test_correct_search_split_and_delete(page: Page, server: Server, person: Person) -> None:
    dataset_id = _two_words(server, person)
    page.goto(f"{server.base}/datasets/{dataset_id}")
    expect(page.get_by_text("Every file could be used.")).to_be_visible(timeout=60_000)
    page.get_by_role("link", name="Clips", exact=True).click()
    page.get_by_role("button", name="Words of a.wav: word a").dblclick()
    page.get_by_role("textbox", name="Words of a.wav").fill("a better word")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Words of a.wav: a better word")).to_be_visible()
    page.get_by_role("searchbox", name="Search clips").fill("better")
    expect(page).to_have_url(f"{server.base}/datasets/{dataset_id}?query=better&tab=clips")
    expect(page.locator("studio-player")).to_have_count(1)
    page.get_by_role("button", name="Delete").click()
    confirm = page.get_by_role("alertdialog").get_by_role("button", name="Delete dataset")
    expect(confirm).to_be_disabled()
    page.get_by_label("Type Two words to confirm").fill("Two words")
    confirm.click()
    expect(page.get_by_text("No datasets yet")).to_be_visible()
    gone = httpx.get(f"{server.base}/api/v1/datasets/{dataset_id}", headers=_bearer(person))
    assert gone.status_code == 404


def _bearer(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"}


def _two_words(server: Server, person: Person) -> str:
    """A dataset of three clips, made and filled through REST."""
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=_bearer(person), timeout=30) as api:
        body = {"name": "Two words", "task": "speech-to-text", "source": {"kind": "upload"}}
        dataset_id = str(api.post("/datasets", json=body).json()["id"])
        for name, pitch in (("a", 200), ("b", 300), ("c", 400)):
            api.put(f"/datasets/{dataset_id}/files/{name}.wav", content=sounds.wav(0.3, pitch=pitch))
            api.put(f"/datasets/{dataset_id}/files/{name}.txt", content=f"word {name}".encode())
        api.post(f"/datasets/{dataset_id}/ingest")
    return dataset_id
