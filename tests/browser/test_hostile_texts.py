"""Texts that would like to be scripts, in every place that shows them."""

from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, expect

from scripts.running import Server, watch_console
from tests.browser.conftest import Person
from tests.ingest import sounds
from tests.security.uploading import settled

pytestmark = pytest.mark.browser
SCRIPT = "<img src=x onerror=\"window.owned='yes'\"><script>window.owned='yes'</script>"
LINK = "[a link](javascript:window.owned='yes') =cmd()"


@pytest.mark.slow
@pytest.mark.attack(
    "X1",
    "script and links in names, notes, transcripts, file names",
    "shown as text, no CSP violation",
)
def test_texts_stay_texts(page: Page, server: Server, person: Person) -> None:
    headers = {"Authorization": f"Bearer {person.token}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=60) as api:
        form = {"name": SCRIPT, "description": LINK, "source": {"kind": "upload"}}
        dataset_id = api.post("/datasets", json=form).raise_for_status().json()["id"]
        table = f'file_name,text\na.wav,"{SCRIPT.replace(chr(34), chr(34) * 2)}"\nb.wav,"{LINK}"\n'.encode()
        files = {"metadata.csv": table, "a.wav": sounds.wav(), "b.wav": sounds.wav(pitch=300)}
        files["<b onclick=alert(1)>.wav"] = b"<script>window.owned='yes'</script>"
        for name, content in files.items():
            api.put(f"/datasets/{dataset_id}/files/{quote(name)}", content=content).raise_for_status()
        api.post(f"/datasets/{dataset_id}/ingest").raise_for_status()
        assert settled(api, dataset_id)["status"] == "ready"
    complaints = watch_console(page)
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.goto(f"{server.base}/datasets")
    expect(page.get_by_text(SCRIPT).first).to_be_visible()
    page.goto(f"{server.base}/datasets/{dataset_id}")
    expect(page.get_by_text(LINK).first).to_be_visible()
    page.goto(f"{server.base}/datasets/{dataset_id}?tab=clips")
    expect(page.get_by_text("<b onclick=alert(1)>.wav").first).to_be_visible()
    expect(page.locator("#content table").get_by_text(SCRIPT).first).to_be_visible()
    assert page.locator("a[href^='javascript:']").count() == 0
    assert page.locator("#content img[src='x'], #content b[onclick]").count() == 0
    assert page.evaluate("() => window.owned === undefined")
    assert complaints == []
