"""Walk every page in Chromium at three widths, light and dark, and look for what is wrong.

PNGs go to `.screens/`. The same walk runs axe-core, records console errors, and checks that no page scrolls
sideways. To add a page, add a line to `PAGES`, here or in `screens_tasks` where it needs a trained
model; `{dataset_id}` and the like come from the demo accounts.

    python -m scripts.screens [--only NAME] [--quick] [--port 3000 --token TOKEN]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page

from scripts import screens_tasks as tasks
from scripts.running import ROOT, Server, sign_up, start_server
from scripts.walking import OUT, Screen, press, wait_for, walk


def _weak_password(page: Page) -> None:
    page.fill("#username", "ada")
    page.fill("#password", "password123")
    page.fill("#confirm", "something else")
    page.click("button[type=submit]")


def _open_palette(page: Page) -> None:
    page.keyboard.press("Control+k")


def _open_account(page: Page) -> None:
    page.click("[title='Your account']")


def _open_bell(page: Page) -> None:
    page.click("#bell")


def _preview_split(page: Page) -> None:
    page.get_by_role("button", name="Change").click()
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("table", name="Preview").wait_for()


def _correct(page: Page) -> None:
    page.get_by_role("button", name="Words of").first.dblclick()


def _look_closely(page: Page) -> None:
    page.locator(".data-table button[aria-expanded]").first.click()
    page.wait_for_function("() => document.querySelector('figure img')?.naturalWidth > 0")


def _vary(page: Page) -> None:
    for part in ("Noise", "Time masks"):
        page.get_by_role("switch", name=part).click()
    page.get_by_role("button", name="Another draw").click()


def _submit(page: Page) -> None:
    page.click("#content button[type=submit]")


def _add_key(page: Page) -> None:
    page.get_by_role("button", name="Add a key").click()
    page.get_by_role("dialog").wait_for()


def _look_at_columns(page: Page) -> None:
    page.get_by_role("button", name="Process").click()
    page.get_by_label("Words", exact=True).select_option("said")
    page.get_by_role("table", name="First clips").wait_for()


def _try_several(page: Page) -> None:
    """The draft is kept, and the field with it, from one picture to the next."""
    button = page.get_by_role("button", name="Try several values")
    if button.count():
        button.click()


PAGES = [
    Screen("login", "/login", signed_out=True),
    Screen("signup", "/signup", signed_out=True),
    Screen("signup-errors", "/signup", act=_weak_password, signed_out=True),
    Screen("dashboard", "/"),
    Screen("palette", "/", act=_open_palette),
    Screen("account-menu", "/", act=_open_account, wide_only=True),
    Screen("bell", "/", act=_open_bell),
    Screen("notifications", "/notifications"),
    Screen("notification-settings", "/settings/notifications"),
    Screen("not-found", "/no-such-page"),
    Screen("datasets", "/datasets"),
    Screen("datasets-nothing-found", "/datasets?query=zzzz"),
    Screen("datasets-new", "/datasets/new"),
    Screen("datasets-new-url", "/datasets/new?source=url", act=_submit),
    Screen("datasets-new-cloud", "/datasets/new?source=cloud"),
    Screen("datasets-new-key", "/datasets/new?source=cloud", act=_add_key),
    Screen("datasets-new-hub", "/datasets/new?source=hub"),
    Screen("datasets-new-folder", "/datasets/new?source=folder"),
    Screen("dataset-files", "/datasets/{waiting_id}"),
    Screen("dataset-columns", "/datasets/{waiting_id}", act=_look_at_columns),
    Screen("dataset", "/datasets/{dataset_id}"),
    Screen("dataset-split", "/datasets/{dataset_id}", act=_preview_split),
    Screen("dataset-export", "/datasets/{dataset_id}", act=press("Export")),
    Screen("dataset-clips", "/datasets/{dataset_id}?tab=clips&page_size=10"),
    Screen("dataset-clips-editing", "/datasets/{dataset_id}?tab=clips&page_size=10", act=_correct),
    Screen("dataset-clips-details", "/datasets/{dataset_id}?tab=clips&page_size=10", act=_look_closely),
    Screen("dataset-clips-check", "/datasets/{dataset_id}?tab=clips&check=near_duplicate"),
    Screen("dataset-quality", "/datasets/{dataset_id}?tab=quality"),
    Screen("dataset-transcribe", "/datasets/{dataset_id}?tab=transcribe"),
    Screen("dataset-versions", "/datasets/{dataset_id}?tab=versions"),
    Screen("dataset-versions-same", "/datasets/{dataset_id}?tab=versions&earlier=1&later=1"),
    Screen("dataset-augment", "/datasets/{dataset_id}?tab=augment", act=_vary),
    Screen("models", "/models"),
    Screen("models-new", "/models/new"),
    Screen("model", "/models/{model_id}"),
    Screen("training", "/training"),
    Screen("training-sweep", "/training/sweeps/{sweep_id}"),
    Screen("training-new", "/training/new"),
    Screen("training-new-filled", "/training/new?dataset={dataset_id}&model={model_id}"),
    Screen(
        "training-new-several",
        "/training/new?dataset={dataset_id}&model={model_id}",
        act=_try_several,
    ),
    Screen("job-queued", "/training/{queued_id}"),
    Screen("job-running", "/training/{running_id}"),
    Screen("job", "/training/{job_id}"),
    Screen("job-charts", "/training/{job_id}?tab=charts"),
    Screen("job-samples", "/training/{job_id}?tab=samples"),
    Screen("job-logs", "/training/{job_id}?tab=logs"),
    Screen("job-config", "/training/{job_id}?tab=config"),
    Screen("jobs-compared", "/training/compare?ids={job_id},{running_id}"),
    Screen("studio", "/studio"),
    Screen("feedback", "/feedback"),
    Screen("feedback-progress", "/feedback?tab=progress"),
    Screen("pairs", "/feedback/pairs"),
    Screen("listening", "/listening"),
    Screen("listening-new", "/listening/new"),
    Screen("adapters", "/adapters"),
    Screen("adapters-cards", "/adapters?view=cards"),
    Screen("adapter", "/adapters/{adapter_id}"),
    Screen("adapter-activate", "/adapters/{adapter_id}", act=press("Activate")),
    Screen("adapter-edit", "/adapters/{adapter_id}", act=press("Edit")),
    Screen("adapter-push", "/adapters/{adapter_id}", act=press("Push to the Hub")),
]


def find_ids(base: str, token: str) -> dict[str, str]:
    """Return the first dataset's, model's, job's and adapter's id of the account."""
    ids: dict[str, str] = {}
    with httpx.Client(base_url=f"{base}/api/v1", headers={"Authorization": f"Bearer {token}"}) as client:
        for kind in ("dataset", "model", "job", "adapter", "sweep"):
            answer = client.get(f"/{kind}s")
            items = answer.json()["items"] if answer.status_code == 200 else []
            for item in reversed(items):  # the newest comes last and stays
                states = {"running": "running_id", "awaiting_files": "waiting_id", "queued": "queued_id"}
                ids[states.get(item.get("status", ""), f"{kind}_id")] = item["id"]
    return ids


def fill_account(server: Server, token: str, model_path: str) -> None:
    """Give the account recordings, a model, a finished job and a running one (by the toy worker)."""
    os.environ["QLORA_STUDIO_DATA"] = str(server.data_path)
    from sqlmodel import select

    from qlora_studio.db import engine as db
    from qlora_studio.db.models import User
    from qlora_studio.services import datasets, models

    with db.read() as session:
        actor = session.exec(select(User)).one()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=60) as client:
        _send_files(client)
        with db.write() as session:
            datasets.add_example(session, actor=actor)
        if model_path:
            source = {"kind": "path", "path": model_path}
            body = {"name": "Whisper tiny", "task": "speech-to-text", "source": source}
            client.post("/models", json=body).raise_for_status()
        else:
            with db.write() as session:
                models.add_starter(session, actor=actor)
        _wait_until_ready(client)
        ids = find_ids(server.base, token)
        _launch_jobs(client, ids)


def _launch_jobs(client: httpx.Client, ids: dict[str, str]) -> None:
    """A sweep and a job that have ended, one that goes on all the time, and two that wait for it."""

    def spec(name: str, n_steps: int, **more: Any) -> dict[str, Any]:
        optimization = {"max_steps": n_steps}
        used = {"dataset_id": ids["dataset_id"], "model_id": ids["model_id"]}
        return {"name": name, **used, "optimization": optimization, "evaluation": {"every_steps": 10}, **more}

    def launch(*args: Any, **more: Any) -> str:
        return str(client.post("/jobs", json=spec(*args, **more)).raise_for_status().json()["id"])

    axes = {"qlora.rank": [8, 16], "optimization.learning_rate": [0.0005, 0.001]}
    client.post("/sweeps", json={"spec": spec("Which rank", 20), "axes": axes}).raise_for_status()
    launch("First try", 40)
    long_id = launch("Longer, rank 32", 100_000)
    for name in ("Rank 64 on the same clips", "With noise"):
        launch(name, 40, after_job_id=long_id)

    def statuses() -> list[str]:
        return sorted(job["status"] for job in client.get("/jobs").raise_for_status().json()["items"])

    wait_for(lambda: statuses() == ["queued", "queued", "running", *["succeeded"] * 5])


def _send_files(client: httpx.Client) -> None:
    """A dataset whose columns have still to be looked at: nothing tells which of them are the words."""
    dataset_id = client.post("/datasets", json={"name": "Call centre, March"}).json()["id"]
    sentence = "I would like to change the address of delivery number {}"
    rows = [f"calls/{n:04}.wav,{sentence.format(n)},agent {n % 3}" for n in range(14)]
    files = {f"calls/{n:04}.wav": b"RIFF" for n in range(12)}
    files["list.csv"] = "\n".join(["clip,said,who", *rows]).encode()
    for name, content in files.items():
        client.put(f"/datasets/{dataset_id}/files/{name}", content=content).raise_for_status()


def _wait_until_ready(client: httpx.Client) -> None:
    def is_ready() -> bool:
        things = [*client.get("/datasets").json()["items"], *client.get("/models").json()["items"]]
        return all(t["status"] in {"ready", "error", "awaiting_files"} for t in things)

    wait_for(is_ready)


def end_jobs(base: str, token: str) -> None:
    """Stop what still runs: jobs outlive their server, and would keep writing into a folder that goes."""
    with httpx.Client(base_url=f"{base}/api/v1", headers={"Authorization": f"Bearer {token}"}) as api:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            jobs = api.get("/jobs", params={"limit": 100}).raise_for_status().json()["items"]
            left = [job["id"] for job in jobs if job["finished_at"] is None]
            if not left:
                return
            for job_id in left:
                api.post(f"/jobs/{job_id}/stop", json={"mode": "kill"})
            time.sleep(0.5)


def main() -> int:
    """Walk, print the complaints, and return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="only screens whose name contains this")
    parser.add_argument("--quick", action="store_true", help="phone dark and desktop light only")
    parser.add_argument("--port", type=int, help="use the server at this port, with --token")
    parser.add_argument("--token", default="", help="a session's token of that server")
    parser.add_argument("--model", default="", help="a model folder to show instead of the starter model")
    arguments = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    complaints: list[str] = []
    wanted = {"only": arguments.only, "quick": arguments.quick}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.port:
            server = Server(None, arguments.port, Path(folder))  # type: ignore[arg-type]
            ids = find_ids(server.base, arguments.token)
            complaints = walk(server, arguments.token, PAGES, ids, **wanted)
        else:
            if any(arguments.only in screen.name for screen in PAGES):
                complaints += _walk_account(Path(folder) / "data", arguments.model, wanted)
            if any(arguments.only in screen.name for screen in tasks.PAGES):
                complaints += _walk_tasks(Path(folder) / "tasks", wanted)
    print("\n".join(complaints) or "No complaints.")
    print(f"{len(list(OUT.glob('*.png')))} pictures in {OUT.relative_to(ROOT)}/")
    return 1 if complaints else 0


def _walk_account(data_path: Path, model_path: str, wanted: dict[str, Any]) -> list[str]:
    """The pages of an account whose jobs are the toy worker's, so that one can run all the time."""
    worker = {"QLORA_STUDIO_WORKER": "toy", "QLORA_STUDIO_TOY_STEP_S": "0.1", "QLORA_STUDIO_SLOTS": "2"}
    roots = {"QLORA_STUDIO_MODEL_ROOTS": model_path} if model_path else {}
    server = start_server(data_path, **worker, **roots)
    token = sign_up(server)
    try:
        fill_account(server, token, model_path)
        return walk(server, token, PAGES, find_ids(server.base, token), **wanted)
    finally:
        end_jobs(server.base, token)
        server.stop()


def _walk_tasks(data_path: Path, wanted: dict[str, Any]) -> list[str]:
    """The pages of what was really trained."""
    server = start_server(data_path)
    token = sign_up(server)
    try:
        return walk(server, token, tasks.PAGES, tasks.fill_tasks(server, token), **wanted)
    finally:
        end_jobs(server.base, token)
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
