"""Backups of a server's data folder while a job writes to it, restored elsewhere and gone on with there."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import pytest

from qlora_studio.client import Studio
from qlora_studio.contracts.enums import TERMINAL_STATUSES, JobStatus
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.db import dumps
from qlora_studio.db.engine import make_engine
from qlora_studio.services import backup_contents, backups, restoring
from qlora_studio.storage import checkpoints
from tests.faults.conftest import TOY
from tests.faults.harness import DETECTED_WITHIN_S, ROOT, kill_leftovers, wait_for
from tests.faults.studio import PASSWORD, StudioProcess, spec

pytestmark = pytest.mark.slow
STEPS = 100
RUN_S = 60.0


@contextmanager
def served(zygote, data):
    """A server of its own on a data folder; whatever it has started ends with the block."""
    studio = StudioProcess(zygote, data, TOY | {"QLORA_STUDIO_TOY_STEP_S": "0.03"})
    studio.start()
    try:
        studio.wait_until_it_answers()
        yield studio
    finally:
        studio.kill()
        kill_leftovers(data)


def client_of(studio, *, is_new=False):
    client = Studio(f"http://127.0.0.1:{studio.port}")
    if is_new:
        client.sign_up("ada", "ada@example.org", PASSWORD)
    client.log_in("ada", PASSWORD)
    return client


def launch(client, dataset, model, name, steps=STEPS):
    body = TrainSpec.model_validate(spec(dataset.id, model.id, name, steps))
    return client.start_job(body).id


def run_command(data, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "qlora_studio.cli", *arguments],
        cwd=ROOT, env=os.environ | {"QLORA_STUDIO_DATA": str(data)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout + done.stderr


def wait_for_end(client, job_id):
    wait_for(
        lambda: client.get_job(job_id).status in TERMINAL_STATUSES,
        within_s=RUN_S,
        what=f"the end of {job_id}",
    )
    return client.get_job(job_id)


def adapter_bytes(data, job_id):
    return (data / "runs" / job_id / "adapter" / "adapter_model.safetensors").read_bytes()


def look_through(folder, job_id):
    """What a restored folder must be like whenever the backup was made; returns its newest checkpoint."""
    with closing(sqlite3.connect(folder / "studio.db")) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert opened.execute("PRAGMA foreign_key_check").fetchall() == []
        row = opened.execute("SELECT status, step, event_offset FROM job WHERE id = ?", [job_id]).fetchone()
    engine = make_engine(f"sqlite:///{folder / 'studio.db'}")
    named = backup_contents.find_named(engine, folder)
    assert dumps.find_damage(engine) is None
    engine.dispose()
    assert [name for name in named if not (folder / name).is_file()] == []
    run = folder / "runs" / job_id
    status, step, offset = row
    if status != "queued" and offset:
        assert (run / "attempt-1" / "events.jsonl").stat().st_size >= offset, "the row is never ahead"
    newest = checkpoints.find_newest_whole(run / "checkpoints")
    assert step < 10 or (newest is not None and newest[0] >= step - 10)
    return newest


def test_a_backup_of_any_moment_of_a_job_goes_on_elsewhere_as_if_nothing_had_been(
    zygote, data_folder, tmp_path
):
    there = tmp_path / "elsewhere"
    with served(zygote, data_folder) as studio, client_of(studio, is_new=True) as client:
        dataset = client.wait_for_dataset(client.add_dataset({"kind": "example"}).id)
        model = client.wait_for_model(client.add_model({"kind": "starter"}).id)
        control = launch(client, dataset, model, "control")
        assert wait_for_end(client, control).status is JobStatus.SUCCEEDED
        job = launch(client, dataset, model, "night")
        waiting = launch(client, dataset, model, "after it", 5)
        wait_for(lambda: client.get_job(job).status is not JobStatus.QUEUED, within_s=RUN_S, what="a start")
        made, took_s = [], []
        while client.get_job(job).status not in TERMINAL_STATUSES:
            began = time.monotonic()
            target = tmp_path / f"{len(made)}.zip"
            made.append(
                backups.make_backup(
                    target=target, data_path=data_folder, database_url=f"sqlite:///{data_folder}/studio.db"
                )
            )
            took_s.append(time.monotonic() - began)
        wanted = adapter_bytes(data_folder, control)
        assert adapter_bytes(data_folder, job) == wanted, "the job itself took no notice"
        by_command = tmp_path / "command.zip"
        run_command(data_folder, "backup", str(by_command))
        refusal = run_command(data_folder, "restore", str(by_command), "--replace", code=1)
        assert f"process {studio.pid}" in refusal
    assert len(made) >= 3
    assert all(backup.missing == [] for backup in made)
    steps = []
    for backup in made:
        restoring.restore_backup(source=backup.path, into=there)
        newest = look_through(there, job)
        steps.append(newest[0] if newest else 0)
        shutil.rmtree(there)
    assert len(set(steps)) >= 2, f"the job hardly moved meanwhile: {steps}"
    megabytes, slowest_ms = made[0].data_bytes / 1e6, 1000 * max(took_s)
    print(f"\n{len(made)} backups of {megabytes:.0f} MB, {slowest_ms:.0f} ms at most; checkpoints: {steps}")
    for n in (0, len(made) // 2, len(made) - 1):
        goes_on(zygote, made[n].path, there, job, waiting, wanted)
        shutil.rmtree(there)
    print(run_command(there, "restore", str(by_command)))
    look_through(there, job)
    assert adapter_bytes(there, job) == wanted


def goes_on(zygote, backup, there, job, waiting, wanted):
    """Restore a backup, start a server on it, and see the job to its end."""
    restoring.restore_backup(source=backup, into=there)
    began = time.monotonic()
    with served(zygote, there) as studio, client_of(studio) as client:
        wait_for(
            lambda: client.get_job(job).status in (*TERMINAL_STATUSES, JobStatus.QUEUED),
            within_s=DETECTED_WITHIN_S, what="the job is told to have ended",
        )  # fmt: skip
        found = client.get_job(job)
        was_waiting = found.status is JobStatus.LOST  # on the one slot that this job had
        if was_waiting:
            wait_for(lambda: client.get_queue().is_paused, within_s=DETECTED_WITHIN_S, what="a held queue")
            assert "backup was restored" in client.get_queue().note
            assert client.get_job(waiting).status is JobStatus.QUEUED
        print(f"{found.status}, attempt {found.attempt}, step {found.progress.step}: {found.message}")
        if was_waiting:
            assert "backup" in found.message
            client.resume_job(job)
            client.resume_queue()
        done = wait_for_end(client, job)
        assert done.status is JobStatus.SUCCEEDED, done.message
        assert adapter_bytes(there, job) == wanted
        loss = client.get_metrics(job, "loss")["loss"]
        assert loss["step"] == list(range(1, STEPS + 1))
        if was_waiting:
            assert wait_for_end(client, waiting).status is JobStatus.SUCCEEDED
        with closing(sqlite3.connect(there / "studio.db")) as opened:
            assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    print(f"gone on with in {time.monotonic() - began:.1f} s")
