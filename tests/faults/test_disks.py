"""Full disks and failing writes while jobs run; each test is a line of the table of faults (F8, F9, F10)."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from qlora_studio.contracts.enums import ExitReason, JobStatus
from qlora_studio.db.engine import get_engine
from qlora_studio.services import accounts
from qlora_studio.storage import checkpoints, layout
from qlora_studio.training.toy import ToyWeights
from tests.faults import volume
from tests.faults.conftest import TOY
from tests.faults.harness import (
    adapter_bytes,
    adapter_of,
    events,
    kill_leftovers,
    loss_steps,
    resume,
    wait_for,
    wait_for_end,
    written_steps,
)
from tests.faults.studio import StudioProcess, spec
from tests.jobs.workbench import make_dataset, make_model

MB = 1_000_000


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], None]]:
    """Put a volume of so many bytes at a folder; called again, it gets another size."""
    mounted: list[Path] = []

    def mount(folder: Path, size: int) -> None:
        try:
            volume.mount(folder, size, again=folder in mounted)
        except volume.NoVolume as missing:
            pytest.skip(str(missing))
        mounted.append(folder)

    yield mount
    for folder in dict.fromkeys(mounted):
        volume.unmount(folder)


@pytest.mark.slow
@pytest.mark.fault(
    "F8",
    "a real volume gets full at a checkpoint; at the final save",
    "disk_full; nothing partial; the last checkpoint verifies; with room again it ends as the control",
)
@pytest.mark.parametrize(("where", "adapter_mb"), [("checkpoint", 0), ("adapter", 4)])
def test_f8_a_full_disk_at_a_save(supervisor, launch, user, small_disk, where, adapter_mb):
    job, control = launch(20, "small", save=5), launch(20, "control", save=5)
    run = layout.run_path(job.id)
    written = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    small_disk(run, 3 * MB if where == "checkpoint" else 6 * MB)
    for name, content in written.items():
        (run / name).write_bytes(content)
    supervisor.start(
        QLORA_STUDIO_TOY_BYTES=str(MB),
        QLORA_STUDIO_TOY_ADAPTER_BYTES=str(adapter_mb * MB),
        QLORA_STUDIO_TOY_STEP_S="0.01",
    )
    failed = wait_for_end(job.id)
    assert (failed.status, failed.reason) == (JobStatus.FAILED, ExitReason.DISK_FULL)
    assert "full" in failed.message
    assert "resume" in failed.message
    assert adapter_of(job.id) is None
    assert not [path for path in run.rglob("*") if "partial" in path.name or path.name == ".reserve"]
    newest = checkpoints.find_newest(run / "checkpoints")
    assert newest.step == (10 if where == "checkpoint" else 20)
    assert all(checkpoints.verify(path) for _, path in checkpoints.list_steps(run / "checkpoints"))
    assert [event["type"] for event in events(job.id)][-2:] == ["error", "finished"]

    small_disk(run, 40 * MB)
    resume(user, job.id)
    assert wait_for_end(job.id).status is JobStatus.SUCCEEDED
    assert wait_for_end(control.id).status is JobStatus.SUCCEEDED
    assert written_steps(job.id, 2) == list(range(newest.step + 1, 21))
    assert loss_steps(job.id) == list(range(1, 21))
    assert adapter_bytes(job.id) == adapter_bytes(control.id)


def trained(folder: Path, steps: int, *, start: checkpoints.Checkpoint | None = None) -> ToyWeights:
    """Train to a step, with a checkpoint every five, as a toy worker does."""
    weights = ToyWeights(seed=7)
    if start is not None:
        weights.load(start.path)
    for step in range(start.step + 1 if start else 1, steps + 1):
        weights.move(step)
        if step % 5 == 0:
            checkpoints.save(folder, step=step, fill=weights.fill, state={"step": step})
    return weights


@pytest.mark.fault(
    "F10",
    "the n-th open, write, sync, rename or removal of a save fails, for every n",
    "what is listed verifies; resumed from there the adapter is the control's",
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_f10_every_call_of_a_save_may_fail(tmp_path, monkeypatch, saw, code):
    control = trained(tmp_path / "control", 20)
    n_failed = 0
    for n in range(1, 200):
        folder = tmp_path / str(n)
        trained(folder, 10)
        calls = 0

        def failing(real, n=n):
            def call(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls == n:
                    raise OSError(code, os.strerror(code))
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as broken:
            for name in ("fsync", "write", "replace", "rename", "open", "mkdir", "unlink", "rmdir"):
                broken.setattr(os, name, failing(getattr(os, name)))
            for name in ("write_text", "write_bytes"):
                broken.setattr(Path, name, failing(getattr(Path, name)))
            try:
                trained(folder, 15, start=checkpoints.find_newest(folder))
            except OSError:
                n_failed += 1
        listed = checkpoints.list_steps(folder)
        assert all(checkpoints.verify(path) for _, path in listed), n
        newest = checkpoints.find_newest(folder)
        assert newest.step in (10, 15)
        assert trained(folder, 20, start=newest).tensors() == control.tensors(), n
        assert not list(folder.glob(".partial-*")), n
        if calls < n:
            break
    assert n_failed >= 8
    assert calls < n, "every call was made to fail"
    saw(f"{n - 1} calls, {n_failed} of them end the save ({errno.errorcode[code]})")


@pytest.mark.slow
@pytest.mark.fault(
    "F9",
    "the database's volume gets full while a job runs",
    "what is there is shown, writes say 507, no partial rows; all goes on without a restart",
)
def test_f9_a_full_volume_under_the_database(data_folder, zygote, small_disk, session, user):
    token = accounts.start_session(session, user=user).token
    session.commit()
    dataset, model = make_dataset(session, user), make_model(session, user)
    session.close()
    get_engine().dispose()
    volume = data_folder / "db"
    database = (data_folder / "studio.db").read_bytes()
    small_disk(volume, len(database) + 2 * MB)
    (volume / "studio.db").write_bytes(database)
    studio = StudioProcess(
        zygote, data_folder, TOY | {"QLORA_STUDIO_DATABASE_URL": f"sqlite:///{volume / 'studio.db'}"}
    )
    studio.start()
    studio.wait_until_it_answers()
    try:
        with studio.client(token) as client:
            body = spec(dataset.id, model.id, "runs", 4_000)
            job_id = client.post("/jobs", json=body).raise_for_status().json()["id"]
            wait_for(
                lambda: client.get(f"/jobs/{job_id}").json()["progress"]["step"] > 5,
                within_s=20,
                what="steps",
            )
            filler = volume / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            said = wait_for_refusal(client, body)
            assert "full" in said["detail"].lower()
            for path in ("/jobs", f"/jobs/{job_id}", f"/jobs/{job_id}/metrics", f"/jobs/{job_id}/logs"):
                assert client.get(path).status_code == 200, path
            n_jobs = client.get("/jobs").json()["total"]
            assert len(list((data_folder / "runs").glob("job_*"))) == n_jobs, "nothing of the refused launch"
            reached = len(written_steps(job_id))
            wait_for(lambda: len(written_steps(job_id)) > reached + 20, within_s=20, what="training goes on")

            filler.unlink()
            made = client.post("/jobs", json=body | {"name": "later"})
            assert made.status_code == 201
            client.post(f"/jobs/{job_id}/stop").raise_for_status()
            wait_for(
                lambda: client.get(f"/jobs/{job_id}").json()["status"] == "stopped", within_s=30, what="Stop"
            )
            step = client.get(f"/jobs/{job_id}").json()["progress"]["step"]
            assert loss_steps(job_id) == list(range(1, step + 1))
    finally:
        studio.kill()
        kill_leftovers(data_folder)
    with contextlib.closing(sqlite3.connect(volume / "studio.db")) as checked:
        assert checked.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert checked.execute("PRAGMA foreign_key_check").fetchall() == []


def wait_for_refusal(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """Launch until there is no room for one more."""
    for n in range(200):
        answer = client.post("/jobs", json=body | {"name": f"filling {n}"})
        if answer.status_code != 201:
            assert answer.status_code == 507, answer.text
            return answer.json()
    raise AssertionError("two hundred jobs found room")
