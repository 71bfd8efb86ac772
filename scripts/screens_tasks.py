"""What `scripts.screens` shows of every task: tiny models, and jobs that really trained them.

A second account on a server with the real worker: a diarization model, a classifier and a MusicGen, each with
a dataset, a job of some seconds, and its adapter; a learning rate test; weights that wait, and refused ones.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page

from scripts.running import Server
from scripts.walking import Screen, press, wait_for
from tests.training import melodies, tones, voices

_ENDED = {"succeeded", "failed", "stopped", "lost"}


@dataclass(frozen=True)
class Recipe:
    """One task: what it is learnt from, by which model, and how long."""

    key: str
    task: str
    name: str
    write: Callable[[Path], object]
    make_model: Callable[[Path], Path]
    epochs: int


def _write_classes(folder: Path) -> None:
    """A folder for each class."""
    for line in tones.write_tones(folder).read_text().splitlines():
        clip = tones.ClipItem.model_validate_json(line)
        path = folder / str(clip.label) / Path(clip.path).name
        path.parent.mkdir(exist_ok=True)
        Path(clip.path).rename(path)


def _write_melodies(folder: Path) -> None:
    """Sounds, each with its text beside it."""
    for line in melodies.write_melodies(folder).read_text().splitlines():
        clip = melodies.ClipItem.model_validate_json(line)
        Path(clip.path).with_suffix(".txt").write_text(clip.text or "")


RECIPES = (
    Recipe(
        "speakers",
        "speaker-diarization",
        "Two voices",
        voices.write_recordings,
        voices.MAKERS["wav2vec2"],
        epochs=12,
    ),
    Recipe("classes", "audio-classification", "Low, middle, high", _write_classes, tones.make_ast, epochs=12),
    Recipe("sound", "text-to-audio", "Melodies", _write_melodies, melodies.make_musicgen, epochs=3),
)

# Jobs that the probe doubts, and whose certificates say what came of them.
_WRONG_RATES = {"slow_job": ("Far too slow", 1e-9), "fast_job": ("Far too fast", 1.0)}


def fill_tasks(server: Server, token: str) -> dict[str, str]:
    """Give the account what is shown and return the ids that the addresses name."""
    headers = {"Authorization": f"Bearer {token}"}
    ids: dict[str, str] = {}
    with (
        httpx.Client(base_url=f"{server.base}/api/v1", headers=headers, timeout=60) as api,
        tempfile.TemporaryDirectory() as folder,
    ):
        for recipe in RECIPES:
            ids |= _fill_task(api, recipe, Path(folder) / recipe.key)
        ids["range_job"] = _launch(
            api,
            "Which rate",
            ids["classes_dataset"],
            ids["classes_model"],
            {"scheduler": "range_test", "learning_rate": 0.1, "max_steps": 40},
        )
        for key, (name, rate) in _WRONG_RATES.items():
            optimization = {"learning_rate": rate, "epochs": RECIPES[1].epochs}
            ids[key] = _launch(api, name, ids["classes_dataset"], ids["classes_model"], optimization)
        ids |= _uploads(api)
        for key in (*(f"{recipe.key}_job" for recipe in RECIPES), "range_job", *_WRONG_RATES):
            job = wait_for(lambda key=key: _ended(api, ids[key]), 300)
            ids[key.replace("_job", "_adapter")] = job["adapter_id"] or ""
    return ids


def _fill_task(api: httpx.Client, recipe: Recipe, folder: Path) -> dict[str, str]:
    recipe.write(folder / "sounds")
    recipe.make_model(folder / "model")
    (folder / "sounds" / "clips.jsonl").unlink(missing_ok=True)
    dataset_id = _send(api, "datasets", folder / "sounds", name=recipe.name, task=recipe.task)
    api.post(f"/datasets/{dataset_id}/ingest").raise_for_status()
    model_id = _send(api, "models", folder / "model", name=f"Tiny, for {recipe.key}", task=recipe.task)
    api.post(f"/models/{model_id}/check").raise_for_status()
    for path in (f"/datasets/{dataset_id}", f"/models/{model_id}"):
        wait_for(lambda path=path: _ready(api, path))
    job_id = _launch(api, recipe.name, dataset_id, model_id, {"epochs": recipe.epochs})
    return {
        f"{recipe.key}_dataset": dataset_id,
        f"{recipe.key}_model": model_id,
        f"{recipe.key}_job": job_id,
    }


def _send(api: httpx.Client, kind: str, folder: Path, **body: str) -> str:
    """Make a dataset or a model out of the files of a folder; returns its id."""
    made = api.post(f"/{kind}", json={"source": {"kind": "upload"}, **body}).raise_for_status().json()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        address = f"/{kind}/{made['id']}/files/{path.relative_to(folder)}"
        api.put(address, content=path.read_bytes()).raise_for_status()
    return str(made["id"])


def _uploads(api: httpx.Client) -> dict[str, str]:
    """A model whose files are still to come, and one whose files were refused."""
    with tempfile.TemporaryDirectory() as empty:
        waiting = _send(api, "models", Path(empty), name="Our recogniser", task="speech-to-text")
        (Path(empty) / "config.json").write_text('{"model_type": "llama"}')
        (Path(empty) / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        refused = _send(api, "models", Path(empty), name="A text model", task="speech-to-text")
    api.post(f"/models/{refused}/check")
    return {"waiting_model": waiting, "refused_model": refused}


def _launch(
    api: httpx.Client, name: str, dataset_id: str, model_id: str, optimization: dict[str, Any]
) -> str:
    spec = {"name": name, "dataset_id": dataset_id, "model_id": model_id, "optimization": optimization}
    return str(api.post("/jobs", json=spec).raise_for_status().json()["id"])


def _ready(api: httpx.Client, path: str) -> bool:
    item = api.get(path).raise_for_status().json()
    if item["status"] == "error":
        raise RuntimeError(f"{path}: {item['error']}")
    return item["status"] == "ready"


def _ended(api: httpx.Client, job_id: str) -> dict[str, Any] | None:
    job = api.get(f"/jobs/{job_id}").raise_for_status().json()
    return job if job["status"] in _ENDED else None


def try_sound(page: Page) -> None:
    """Have the model make a sound, where it hasn't yet."""
    page.get_by_label("Sound").fill("low")
    page.get_by_label("Sound").blur()
    _ask(page, "Make the sound")


def try_clip(page: Page) -> None:
    """Have the model hear the noise of two voices."""
    with tempfile.TemporaryDirectory() as folder:
        said = [voices.Turn(start, length, who) for who, start, length in voices.TURNS[0]]
        clip = voices.write_recording(Path(folder), "meeting", said, 1.2)
        page.locator("studio-trial-clip input[type=file]").set_input_files(clip.path)
        page.locator("#try article").first.wait_for(timeout=120_000)


def _ask(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()
    page.locator("#try article").first.wait_for(timeout=120_000)


def merge(page: Page) -> None:
    """Merge the adapter, or look at the one that is merged."""
    start = page.get_by_role("button", name="Merge into a full model")
    if start.count():
        start.click()
    page.locator("#merge").get_by_text("The same outputs").wait_for(timeout=240_000)


def refuse_import(page: Page) -> None:
    """Choose something that isn't an adapter."""
    page.get_by_role("button", name="Import adapter").click()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.zip"
        path.write_text("no zip")
        page.locator("studio-adapter-import input[type=file]").set_input_files(os.fspath(path))
        page.locator("studio-adapter-import [role=alert]").wait_for()


def open_reasons(page: Page) -> None:
    """Say why the presets are what they are."""
    page.get_by_text("Why these presets").click()


def open_expert(page: Page) -> None:
    """Show all parameters, the type of training among them."""
    button = page.get_by_role("button", name="Expert")
    if button.count():
        button.click()
        page.get_by_label("Training type").wait_for()


PAGES = [
    Screen("task-model-waiting", "/models/{waiting_model}"),
    Screen("task-model-refused", "/models/{refused_model}"),
    Screen("task-model-sound", "/models/{sound_model}", act=try_sound),
    Screen("task-model-speakers", "/models/{speakers_model}", act=try_clip),
    Screen("task-model-classes", "/models/{classes_model}", act=try_clip),
    Screen("task-job-speakers", "/training/{speakers_job}"),
    Screen("task-job-speakers-samples", "/training/{speakers_job}?tab=samples"),
    Screen("task-job-classes", "/training/{classes_job}"),
    Screen("task-job-classes-charts", "/training/{classes_job}?tab=charts"),
    Screen("task-job-classes-samples", "/training/{classes_job}?tab=samples"),
    Screen("task-job-sound", "/training/{sound_job}"),
    Screen("task-job-sound-samples", "/training/{sound_job}?tab=samples"),
    Screen("task-job-range-test", "/training/{range_job}"),
    Screen("task-job-too-slow", "/training/{slow_job}"),
    Screen("task-job-too-fast", "/training/{fast_job}"),
    Screen("task-adapters", "/adapters"),
    Screen("task-adapter-speakers", "/adapters/{speakers_adapter}"),
    Screen("task-adapter-classes", "/adapters/{classes_adapter}"),
    Screen("task-adapter-too-slow", "/adapters/{slow_adapter}"),
    Screen("task-adapter-too-fast", "/adapters/{fast_adapter}"),
    Screen("task-adapter-merge", "/adapters/{classes_adapter}", act=merge),
    Screen("task-adapter-import", "/adapters", act=press("Import adapter")),
    Screen("task-adapter-import-refused", "/adapters", act=refuse_import),
    Screen(
        "task-wizard-reasons",
        "/training/new?dataset={speakers_dataset}&model={speakers_model}",
        act=open_reasons,
    ),
    Screen(
        "task-wizard-types",
        "/training/new?dataset={sound_dataset}&model={sound_model}",
        act=open_expert,
    ),
]
