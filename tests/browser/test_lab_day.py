"""A day in a lab: an admin, two trainers, three raters and a viewer, in browsers and by command.

    make lab-day

takes three minutes and prints the audit log of the day; other runs skip it.
"""

import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from scripts.running import PASSWORD, ROOT, Server, sign_in, sign_up, watch_console

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not os.environ.get("QLORA_STUDIO_LAB_DAY"), reason="takes minutes: make lab-day"),
]
TRAINERS, RATERS, VIEWER = ("tara", "tom"), ("rita", "rolf", "rosa"), "vic"
SPEC = """
name: {name}
dataset_id: {dataset}
model_id: {model}
optimization: {{max_steps: 4, batch_size: 4}}
evaluation: {{every_steps: 4, save_every_steps: 4, n_samples: 2}}
"""


class Lab:
    """A server, its people's windows, and the command line as each of them."""

    def __init__(self, server: Server, browser: Browser, folder: Path) -> None:
        self.server, self.folder = server, folder
        self._browser = browser
        self._windows: dict[str, BrowserContext] = {}
        self.tokens: dict[str, str] = {}
        self.complaints: dict[str, list[str]] = {}

    def arrive(self, name: str) -> None:
        """Make an account."""
        self.tokens[name] = sign_up(self.server, name)

    def page(self, name: str) -> Page:
        """A page in the window of somebody who has arrived."""
        window = self._browser.new_context(viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
        window.set_default_timeout(30_000)
        self._windows[name] = window
        if name in self.tokens:
            sign_in(window, self.server, self.tokens[name])
        page = window.new_page()
        self.complaints[name] = watch_console(page)
        return page

    def leave(self) -> None:
        for window in self._windows.values():
            window.close()

    def run(self, name: str, *words: str, code: int = 0) -> str:
        """Do something on the command line as somebody; returns what it printed."""
        command = [sys.executable, "-m", "qlora_studio.cli", *words, "--user", name]
        env = os.environ | {"QLORA_STUDIO_DATA": str(self.server.data_path), "COLUMNS": "300"}
        told = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert told.returncode == code, f"{name}: {' '.join(words)}\n{told.stdout}{told.stderr}"
        return told.stdout + told.stderr if code else told.stdout

    def ask(self, name: str, *words: str) -> Any:
        """The same with `--json`."""
        return json.loads(self.run(name, *words, "--json"))


@pytest.fixture
def lab(own_server: Callable[..., Server], browser: Browser, tmp_path: Path) -> Iterator[Lab]:
    opened = Lab(own_server(), browser, tmp_path)
    yield opened
    opened.leave()


def test_a_day_in_a_lab(lab: Lab) -> None:
    admin = begin(lab)
    dataset, sounds = bring_things(lab)
    adapter = train(lab, dataset)
    make_and_rate_takes(lab, sounds)
    compare_blind(lab, sounds)
    look_without_touching(lab, dataset)
    run_into_limits(lab, admin)
    rows = read_the_log(lab, admin)

    assert [row for row in rows if row["who"] == "vic" and not row["action"].startswith("account.")] == []
    expected = [
        ("ada", "account.create", "ada"), ("ada", "user.update", "rita"), ("ada", "user.update", "vic"),
        ("ada", "user.update", "rolf"), ("ada", "user.update", "rosa"), ("tara", "dataset.create", "Calls"),
        ("tara", "dataset.share", "Calls"), ("tara", "model.create", "Starter sound model"),
        ("tara", "model.share", "Starter sound model"), ("tom", "model.create", "Starter speech model"),
        ("tom", "job.create", "first"), ("tom", "job.create", "second"),
        ("tara", "generation.start", "a short high bell, note a"), ("rolf", "take.rate", ""),
        ("rosa", "take.rate", ""), ("rita", "pair.vote", ""), ("tom", "model.share", "Starter sound model"),
        ("tara", "listening_test.create", "Which"), ("ada", "user.update", "tom"),
        ("ada", "user.update", "rolf"),
    ]  # fmt: skip
    told = [(row["who"], row["action"], row["name"]) for row in rows]
    in_order = iter(told)
    assert [one for one in expected if one not in in_order] == [], told
    text = json.dumps(rows)
    for secret in (PASSWORD, *lab.tokens.values()):
        assert secret not in text
    assert adapter
    assert lab.complaints == {name: [] for name in lab.complaints}
    with sqlite3.connect(lab.server.data_path / "studio.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def begin(lab: Lab) -> Page:
    """The admin signs up first, the others come, and are given roles: in the browser, and by command."""
    page = lab.page("ada")
    page.goto(f"{lab.server.base}/signup")
    for name, value in {"username": "ada", "email": "ada@example.org", "password": PASSWORD}.items():
        page.fill(f"#{name}", value)
    page.fill("#confirm", PASSWORD)
    page.click("button[type=submit]")
    expect(page.get_by_role("heading", name="Dashboard", level=1)).to_be_visible()
    for name in (*TRAINERS, *RATERS, VIEWER):
        lab.arrive(name)
    page.goto(f"{lab.server.base}/admin")
    for name, role in (("rita", "rater"), ("vic", "viewer")):
        page.get_by_label(f"Role of {name}").select_option(role)
        expect(page.get_by_label(f"Role of {name}")).to_have_value(role)
        expect(page.get_by_label(f"Role of {name}")).to_be_enabled()
    for name in ("rolf", "rosa"):
        lab.run("ada", "user", "set", name, "--role", "rater")
    page.reload()
    expect(page.get_by_label("Role of rosa")).to_have_value("rater")
    return page


def bring_things(lab: Lab) -> tuple[str, str]:
    """A trainer brings recordings and a sound model, and shares both: one by command, one in the browser."""
    lab.run("tara", "dataset", "add", "example", "--name", "Calls")
    dataset = lab.ask("tara", "dataset", "list")[0]["id"]
    lab.run("tara", "share", dataset, "use")
    lab.run("tara", "model", "add", "starter-sound")
    sounds = lab.ask("tara", "model", "list")[0]["id"]
    page = lab.page("tara")
    page.goto(f"{lab.server.base}/models/{sounds}")
    choice = page.get_by_label("Who may see it")
    choice.select_option("use")
    expect(choice).to_have_value("use")
    return dataset, sounds


def train(lab: Lab, dataset: str) -> str:
    """The other trainer trains on what was shared, by command; the second job is begun in the browser."""
    lab.run("tom", "model", "add", "starter")
    model = lab.ask("tom", "model", "list")[0]["id"]
    assert lab.ask("tom", "dataset", "list") == [], "nothing of one's own"
    assert [row["id"] for row in lab.ask("tom", "dataset", "list", "--shared")] == [dataset]
    spec = lab.folder / "first.yaml"
    spec.write_text(SPEC.format(name="first", dataset=dataset, model=model))
    lab.run("tom", "train", str(spec))
    page = lab.page("tom")
    page.goto(f"{lab.server.base}/training")
    row = page.get_by_role("row").filter(has_text="first")
    expect(row).to_contain_text("Succeeded")
    row.get_by_role("link", name="first").click()
    page.get_by_role("link", name="Clone").click()
    page.get_by_label("Name of the job and its adapter").fill("second")
    page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("heading", name="second")).to_be_visible()
    expect(page.get_by_text("Succeeded", exact=True).first).to_be_visible(timeout=180_000)
    return str(lab.ask("tom", "adapters", "list")[0]["id"])


def make_and_rate_takes(lab: Lab, sounds: str) -> None:
    """Takes are made by command, shared, and compared and rated: by keyboard, and by command."""
    words = ("a short high bell, note a", "--model", sounds, "--takes", "2", "--seconds", "1")
    lab.run("tara", "generations", "make", *words)
    made = lab.ask("tara", "generations", "list")[0]["id"]
    lab.run("tara", "generations", "share", made, "use")
    takes = [take["id"] for take in lab.ask("tara", "generations", "show", made)["takes"]]
    lab.run("rolf", "feedback", "rate", takes[0], "4")
    lab.run("rosa", "feedback", "rate", takes[0], "2")
    page = lab.page("rita")
    page.goto(f"{lab.server.base}/feedback/pairs")
    expect(page.locator("[data-ready=true]")).to_be_visible()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="A is better")).to_be_enabled()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("1 pair answered, 1 just now")).to_be_visible()
    assert len(lab.ask("rita", "preferences", "list")) == 1
    assert {r["stars"] for r in lab.ask("tara", "feedback", "show", takes[0])} == {4, 2}


def compare_blind(lab: Lab, sounds: str) -> None:
    """A listening test, answered by all three raters, read by its owner."""
    lab.run("tom", "model", "add", "starter-sound")
    other = next(row["id"] for row in lab.ask("tom", "model", "list") if "sound" in row["name"])
    lab.run("tom", "share", other, "use")
    words = ("--contestant", sounds, "--contestant", other, "--prompt", "a low drum", "--seeds", "2")
    lab.run("tara", "listening", "create", "Which", *words, "--seconds", "1", "--catch-every", "0")
    test = lab.ask("rolf", "listening", "list")[0]["id"]
    for name, verdict in (("rolf", "left"), ("rosa", "tie")):
        question = lab.ask(name, "listening", "next", test)["questions"][0]["id"]
        lab.run(name, "listening", "answer", question, verdict)
    page = lab.page("rita")
    page.goto(f"{lab.server.base}/listening/{test}")
    expect(page.locator("[data-ready=true]")).to_be_visible()
    page.keyboard.press("a")
    page.keyboard.press("b")
    expect(page.get_by_role("button", name="B is better")).to_be_enabled()
    page.keyboard.press("ArrowRight")
    owner = lab.page("tara")
    owner.goto(f"{lab.server.base}/listening/{test}/results")
    expect(owner.get_by_role("table", name="Ranking")).to_be_visible()
    assert lab.ask("tara", "listening", "results", test)["n_votes"] == 3


def look_without_touching(lab: Lab, dataset: str) -> None:
    """The viewer sees what is shared, and is offered and granted nothing more."""
    page = lab.page("vic")
    page.goto(f"{lab.server.base}/datasets?shelf=shared")
    page.get_by_role("link", name="Calls").click()
    expect(page.get_by_text("Shared by tara")).to_be_visible()
    expect(page.locator("#content").get_by_text("Train on this", exact=True)).to_have_count(0)
    assert "role" in lab.run("vic", "dataset", "add", "example", code=1)
    assert "Only an admin" in lab.run("vic", "audit", code=1)
    headers = {"Authorization": f"Bearer {lab.tokens['vic']}"}
    with httpx.Client(base_url=f"{lab.server.base}/api/v1", headers=headers) as api:
        assert api.get(f"/datasets/{dataset}").status_code == 200
        assert api.delete(f"/datasets/{dataset}").status_code == 403
        assert api.get("/jobs", params={"shelf": "all"}).json()["total"] == 0, "Tom's are his own"


def run_into_limits(lab: Lab, admin: Page) -> None:
    """A trainer's space is full; a rater is disabled in the middle of a page."""
    lab.run("ada", "user", "set", "tom", "--max-gb", "0.00001")
    assert "no room" in lab.run("tom", "dataset", "add", "example", "--name", "More", code=1)
    page = lab.page("rolf")
    page.goto(f"{lab.server.base}/listening")
    expect(page.get_by_role("row").filter(has_text="Which")).to_be_visible()
    admin.goto(f"{lab.server.base}/admin")
    admin.get_by_role("button", name="Actions for rolf").click()
    admin.get_by_role("menuitem", name="Disable").click()
    admin.get_by_role("button", name="Disable account").click()
    expect(
        admin.get_by_role("row").filter(has_text="rolf").get_by_text("Disabled", exact=True)
    ).to_be_visible()
    page.goto(f"{lab.server.base}/feedback/pairs")
    expect(page).to_have_url(f"{lab.server.base}/login?next=/feedback/pairs")


def read_the_log(lab: Lab, admin: Page) -> list[dict[str, str]]:
    """The admin filters the log in the browser and takes it as CSV; the command tells the same."""
    admin.goto(f"{lab.server.base}/admin/audit?who=tom")
    expect(admin.get_by_role("row").filter(has_text="job.create").first).to_be_visible()
    expect(admin.get_by_role("row").filter(has_text="user.update")).to_have_count(0)
    admin.goto(f"{lab.server.base}/admin/audit")
    expect(admin.get_by_role("row").filter(has_text="user.update").first).to_be_visible()
    with admin.expect_download() as download:
        admin.get_by_role("link", name="CSV of these").click()
    with download.value.path().open(newline="") as file:
        table = list(csv.DictReader(file))
    names = {
        "at": "at",
        "actor_name": "who",
        "action": "action",
        "object_type": "kind",
        "object_name": "name",
    }
    told = reversed(lab.ask("ada", "audit"))
    rows = [{short: row[name] for name, short in names.items()} for row in told]
    for row in rows:
        print(f"{row['at'][11:19]}  {row['who']:5} {row['action']:24} {row['kind']:15} {row['name']}")
    assert len(table) == len(rows)
    return rows
