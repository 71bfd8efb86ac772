"""Jobs and adapters over REST: paths, fields and status codes as the contract has them."""

import io
import json
import time
import zipfile

import pytest

from qlora_studio.api.security import current_user
from qlora_studio.contracts.enums import TERMINAL_STATUSES, ExitReason, JobStatus
from qlora_studio.db.engine import read, write
from qlora_studio.db.models import Adapter, Job, JobSample
from qlora_studio.jobs import metrics
from qlora_studio.jobs.supervisor import Supervisor
from qlora_studio.launchers.local import LocalLauncher
from qlora_studio.storage import layout
from tests.jobs.conftest import tick_until
from tests.jobs.workbench import make_dataset, make_model, spec_data


@pytest.fixture
def body(session, user):
    return spec_data(make_dataset(session, user), make_model(session, user))


@pytest.fixture
def job(client, body):
    answer = client.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def run_to_end(job_id):
    def is_over():
        with read() as session:
            return session.get_one(Job, job_id).status in TERMINAL_STATUSES

    tick_until(Supervisor(LocalLauncher("toy")), is_over)


def set_status(job_id, status):
    with write() as session:
        row = session.get_one(Job, job_id)
        row.status = status
        session.add(row)


def test_a_launched_job_has_the_fields_of_the_contract(client, job):
    assert job["id"].startswith("job_")
    assert job["status"] == "queued"
    assert set(job["progress"]) == {"step", "total_steps", "epoch", "percent", "eta_s"}
    assert {"last", "best"} <= set(job["metrics"])
    assert (job["attempt"], job["pid"], job["adapter_id"], job["reason"]) == (1, None, None, None)
    assert client.get(f"/jobs/{job['id']}").json() == job | {"report": {}}
    listed = client.get("/jobs", params={"query": "prompts", "status": "queued", "sort": "-name"}).json()
    assert (listed["items"], listed["total"], listed["page"], listed["page_size"]) == ([job], 1, 1, 25)


@pytest.mark.fault("F13", "a request sent again", "one job, the same answer")
def test_a_request_sent_again_makes_one_job(client, body):
    answers = [client.post("/jobs", json=body, headers={"Idempotency-Key": "k"}) for _ in range(3)]
    assert {a.status_code for a in answers} == {201}
    assert len({a.json()["id"] for a in answers}) == 1
    assert client.get("/jobs").json()["total"] == 1


def test_wrong_fields_are_named(client, body):
    answer = client.post("/jobs", json=body | {"qlora": {"rank": 0}, "colour": "red"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert {e["field"] for e in answer.json()["errors"]} == {"qlora.rank", "colour"}
    answer = client.post("/jobs", json=body | {"dataset_id": "ds_x"})
    assert [e["field"] for e in answer.json()["errors"]] == ["dataset_id"]


def test_a_check_answers_for_right_and_wrong_specs(client, body):
    good = client.post("/jobs/validate", json=body).json()
    assert (good["ok"], good["errors"]) == (True, [])
    assert {"memory", "time", "disk"} <= set(good["forecast"])
    assert "prompts-r16" in good["command"]
    assert "rank: 16" in good["yaml"]
    bad = client.post("/jobs/validate", json=body | {"optimization": {"learning_rate": -1}})
    assert (bad.status_code, bad.json()["ok"]) == (200, False)
    assert bad.json()["errors"][0]["field"] == "optimization.learning_rate"
    assert client.get("/jobs").json()["total"] == 0


def test_stop_resume_clone_and_delete(client, job):
    path = f"/jobs/{job['id']}"
    assert client.post(f"{path}/resume").status_code == 409
    stopped = client.post(f"{path}/stop", json={"mode": "save"})
    assert (stopped.status_code, stopped.json()["status"]) == (202, "stopped")
    assert client.post(f"{path}/stop", json={"mode": "kill"}).status_code == 409
    assert client.post(f"{path}/stop", json={"mode": "gently"}).status_code == 422
    resumed = client.post(f"{path}/resume")
    assert (resumed.status_code, resumed.json()["attempt"]) == (202, 2)
    copy = client.post(f"{path}/clone", json={"name": "second"})
    assert (copy.status_code, copy.json()["name"]) == (202, "second")
    set_status(job["id"], JobStatus.RUNNING)
    assert client.delete(path).status_code == 409
    set_status(job["id"], JobStatus.FAILED)
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_the_next_action_is_told_and_taken_once(client, job):
    path = f"/jobs/{job['id']}"
    assert job["next_action"] is None
    assert client.post(f"{path}/next-action").status_code == 409
    with write() as session:
        row = session.get_one(Job, job["id"])
        row.status, row.reason = JobStatus.FAILED, ExitReason.NAN_LOSS
    told = client.get(path).json()["next_action"]
    assert (told["kind"], told["changes"]) == ("change", {"optimization": {"learning_rate": 0.00017}})
    answers = [client.post(f"{path}/next-action") for _ in range(2)]
    assert [a.status_code for a in answers] == [202, 202]
    assert len({a.json()["id"] for a in answers} | {job["id"]}) == 2
    assert answers[0].json()["spec"]["optimization"]["learning_rate"] == 0.00017


def test_a_sound_that_was_made_is_served_by_id_and_in_parts(api, client, job, stranger):
    folder = layout.run_path(job["id"]) / "samples" / "00000010"
    folder.mkdir(parents=True)
    (folder / "0.flac").write_bytes(b"fLaC" + bytes(60))
    with write() as session:
        for clip, name in (("clip_1", "samples/00000010/0.flac"), ("clip_2", "../../secret.key")):
            session.add(JobSample(job_id=job["id"], step=10, clip_id=clip, details={"sound": name}))
    path = f"/jobs/{job['id']}/samples/10/clip_1/sound"
    whole = client.get(path)
    assert (whole.status_code, len(whole.content)) == (200, 64)
    assert whole.headers["content-type"] == "audio/flac"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "attachment" in whole.headers["content-disposition"]
    part = client.get(path, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"fLaC")
    for wrong in (f"{path}?of=base", path.replace("clip_1", "clip_2"), path.replace("/10/", "/11/")):
        assert client.get(wrong).status_code == 404
    assert client.get(f"{path}?of=../x").status_code == 422
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get(path).status_code == 404


def test_a_strangers_job_is_not_there(api, client, job, stranger):
    api.dependency_overrides[current_user] = lambda: stranger
    for path in ("", "/metrics", "/logs", "/events", "/results", "/samples"):
        assert client.get(f"/jobs/{job['id']}{path}").status_code == 404
    for path in ("stop", "resume", "clone", "next-action"):
        assert client.post(f"/jobs/{job['id']}/{path}").status_code == 404
    assert client.delete(f"/jobs/{job['id']}").status_code == 404
    assert client.get("/jobs").json()["items"] == []


def test_signed_out_gets_nothing(api, client, job):
    api.dependency_overrides.clear()
    assert client.get(f"/jobs/{job['id']}").status_code == 401
    assert client.get("/adapters").status_code == 401


def test_curves_keep_their_peaks_and_gaps(client, job):
    writer = metrics.MetricsWriter(layout.run_path(job["id"]) / "metrics")
    values = [0.5] * 5_000
    values[1234], values[4000] = 9.0, float("nan")
    writer.append({"loss": [(metrics.sequence(1, i + 1), i, 1.0, v) for i, v in enumerate(values)]})
    path = f"/jobs/{job['id']}/metrics"
    series = client.get(path, params={"keys": "loss,none", "max_points": 100}).json()["series"]
    assert list(series) == ["loss"]
    assert 1234 in series["loss"]["step"]
    assert len(series["loss"]["step"]) <= 100
    window = {"keys": "loss", "from_step": 3999, "to_step": 4001}
    near = client.get(path, params=window).json()["series"]["loss"]
    assert near["value"] == [0.5, None, 0.5]
    assert client.get(path, params={"max_points": 1_000_000}).status_code == 422


def test_a_part_of_a_curve_by_time(client, job):
    writer = metrics.MetricsWriter(layout.run_path(job["id"]) / "metrics")
    points = [(metrics.sequence(1, i + 1), i, 1000.0 + i / 2, float(i)) for i in range(100)]
    writer.append({"loss": points, "rss_bytes": points})
    path = f"/jobs/{job['id']}/metrics"
    series = client.get(path, params={"from_time": 1010, "to_time": 1011.4}).json()["series"]
    assert {key: part["step"] for key, part in series.items()} == {
        "loss": [20, 21, 22],
        "rss_bytes": [20, 21, 22],
    }
    for wrong in ({"from_time": "nan"}, {"from_time": 5, "to_time": 4}, {"to_time": 1e300}):
        assert client.get(path, params=wrong).status_code == 422


def test_a_log_is_followed_searched_and_downloaded_by_attempt(client, job):
    path, folder = f"/jobs/{job['id']}/logs", layout.attempt_path(job["id"], 1)
    folder.mkdir(parents=True)
    (folder / "worker.log").write_text("loss 1\nValueError: bad\n")
    first = client.get(path).json()
    assert (first["lines"], first["levels"]) == (["loss 1", "ValueError: bad"], ["info", "error"])
    assert (first["attempt"], first["n_found"], first["next"]) == (1, None, 23)
    found = client.get(path, params={"search": "LOSS"}).json()
    assert (found["lines"], found["n_found"], found["is_complete"]) == (["loss 1"], 1, True)
    assert client.get(path, params={"level": "error", "tail": 1}).json()["lines"] == ["ValueError: bad"]

    set_status(job["id"], JobStatus.FAILED)
    assert client.post(f"/jobs/{job['id']}/resume").status_code == 202
    newer = layout.attempt_path(job["id"], 2)
    newer.mkdir()
    (newer / "worker.log").write_text("again\nnot yet who")
    on = client.get(path, params={"cursor": first["cursor"]}).json()
    assert (on["lines"], on["attempt"], on["n_attempts"]) == (["again"], 2, 2)
    assert client.get(path, params={"cursor": on["cursor"]}).json()["cursor"] == on["cursor"]
    assert client.get(path, params={"attempt": 1}).json()["lines"] == first["lines"]
    old = client.get(f"{path}/download", params={"attempt": 1})
    assert old.text == "loss 1\nValueError: bad\n"
    assert "attempt-1.log" in old.headers["content-disposition"]
    for wrong in ({"attempt": 3}, {"cursor": "x"}, {"cursor": "9-0"}, {"level": "loud"}):
        assert client.get(path, params=wrong).status_code == 422


def test_samples_tell_which_words_are_wrong(client, job):
    speech = {"clip_id": "a", "reference": "press two", "base": "", "now": "press to", "error": 0.5}
    sure = {"top": [{"label": "dog", "probability": 0.9}]}
    classes = {"clip_id": "b", "reference": "dog", "base": "cat", "now": "dog", "error": 0.1, "details": sure}
    with write() as session:
        for values in (speech, classes):
            session.add(JobSample(job_id=job["id"], step=4, **values))
    heard, named = client.get(f"/jobs/{job['id']}/samples").json()["items"]
    assert [(w["text"], w["kind"]) for w in heard["words"]] == [
        ("press", "same"),
        ("to", "wrong"),
        ("two", "missing"),
    ]
    assert {w["kind"] for w in heard["base_words"]} == {"missing"}
    assert (named["words"], named["base_words"]) == ([], [])


def test_jobs_are_compared(api, client, job, body, stranger):
    other = client.post("/jobs", json=body | {"name": "other", "qlora": {"rank": 4}}).json()
    for job_id in (job["id"], other["id"]):
        writer = metrics.MetricsWriter(layout.run_path(job_id) / "metrics")
        writer.append({"loss": [(metrics.sequence(1, i), i, float(i), 1 / i) for i in range(1, 5_000)]})
    ids = f"{job['id']},{other['id']}"
    found = client.get("/comparisons", params={"ids": ids, "max_points": 100}).json()
    assert [one["name"] for one in found["jobs"]] == ["prompts-r16", "other"]
    assert next(row for row in found["differences"] if row["key"] == "qlora.rank")["values"][1] == 4
    assert [len(one["loss"]["step"]) <= 100 for one in found["curves"]] == [True, True]
    assert (found["metrics"], found["samples"]) == ([], [])
    assert client.get("/comparisons", params={"ids": job["id"]}).status_code == 422
    assert client.get("/comparisons", params={"ids": f"{job['id']},job_none"}).status_code == 404
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get("/comparisons", params={"ids": ids}).status_code == 404


def parse_stream(text):
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])


@pytest.mark.slow
def test_a_job_from_launch_to_download(client, job):
    run_to_end(job["id"])
    done = client.get(f"/jobs/{job['id']}").json()
    assert (done["status"], done["progress"]["percent"]) == ("succeeded", 100)
    assert done["metrics"]["best"]["wer"] < done["metrics"]["base"]["wer"]
    events = list(parse_stream(client.get(f"/jobs/{job['id']}/events").text))
    kinds = [kind for _, kind, _ in events]
    assert {"status", "progress", "metric", "sample", "log"} <= set(kinds)
    assert [d["step"] for _, kind, d in events if kind == "progress"] == list(range(1, 9))
    middle = next(i for i, (_, kind, d) in enumerate(events) if kind == "progress" and d["step"] == 4)
    rest = client.get(f"/jobs/{job['id']}/events", headers={"Last-Event-ID": events[middle][0]}).text
    assert [d["step"] for _, kind, d in parse_stream(rest) if kind == "progress"] == [5, 6, 7, 8]
    log = client.get(f"/jobs/{job['id']}/logs", params={"tail": 3}).json()
    assert len(log["lines"]) == 3
    assert client.get(f"/jobs/{job['id']}/logs", params={"after": log["next"]}).json()["lines"] == []
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"/jobs/{job['id']}/results").content))
    names = set(archive.namelist())
    assert {"metrics.csv", "worker.log", "config.yaml", "spec.json", "README.md"} <= names
    assert "adapter/adapter_model.safetensors" in names

    adapter = client.get(f"/adapters/{done['adapter_id']}").json()
    assert adapter["job_id"] == job["id"]
    assert adapter["metrics"]["wer"] < adapter["base_metrics"]["wer"]
    assert client.get("/adapters").json()["items"] == [adapter]
    download = client.get(f"/adapters/{adapter['id']}/download")
    assert "attachment" in download.headers["content-disposition"]
    assert "adapter_config.json" in zipfile.ZipFile(io.BytesIO(download.content)).namelist()
    assert client.delete(f"/jobs/{job['id']}").status_code == 409


def make_adapter(user, job_id):
    folder = layout.run_path(job_id) / "adapter"
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    with write() as session:
        row = session.get_one(Job, job_id)
        adapter = Adapter(
            owner_id=user.id, name="mine", job_id=job_id, base_model_id=row.model_id, path=str(folder)
        )
        session.add(adapter)
    return adapter.id, folder


def test_adapters_are_renamed_and_deleted_with_their_files(client, user, job, api, stranger):
    adapter_id, folder = make_adapter(user, job["id"])
    changed = client.patch(f"/adapters/{adapter_id}", json={"name": "better", "stage": "candidate"}).json()
    assert (changed["name"], changed["stage"]) == ("better", "candidate")
    assert client.patch(f"/adapters/{adapter_id}", json={"name": " "}).status_code == 422
    assert client.get("/adapters", params={"query": "bett", "stage": "candidate"}).json()["total"] == 1
    assert client.get("/adapters", params={"query": "worse"}).json()["total"] == 0
    api.dependency_overrides[current_user] = lambda: stranger
    assert client.get(f"/adapters/{adapter_id}").status_code == 404
    assert client.get(f"/adapters/{adapter_id}/download").status_code == 404
    assert client.delete(f"/adapters/{adapter_id}").status_code == 404
    api.dependency_overrides[current_user] = lambda: user
    assert client.delete(f"/adapters/{adapter_id}").status_code == 204
    assert not folder.exists()
    assert client.get(f"/adapters/{adapter_id}").status_code == 404


def test_a_watch_of_a_job_that_has_ended_ends_at_once(client, job):
    client.post(f"/jobs/{job['id']}/stop")
    started = time.monotonic()
    events = list(parse_stream(client.get(f"/jobs/{job['id']}/events").text))
    assert [d["status"] for _, kind, d in events if kind == "status"] == ["stopped"]
    assert time.monotonic() - started < 5


def write_run(job_id: str, *, log: str, events: str = "") -> None:
    """What the worker of a job that never began would have written."""
    attempt = layout.attempt_path(job_id, 1)
    attempt.mkdir(parents=True, exist_ok=True)
    (attempt / "worker.log").write_text(log)
    (attempt / "events.jsonl").write_text(events)


def test_a_watch_of_a_job_that_has_ended_brings_all_of_a_long_log(client, job):
    lines = [f"line {i} {'x' * 90}" for i in range(12_000)]  # more than is read at a time
    write_run(job["id"], log="\n".join(lines))  # and the last one without an end
    client.post(f"/jobs/{job['id']}/stop")
    events = parse_stream(client.get(f"/jobs/{job['id']}/events").text)
    assert [line for _, kind, d in events if kind == "log" for line in d["lines"]] == lines


def test_half_an_event_does_not_keep_the_watch_of_an_ended_job_open(client, job):
    write_run(job["id"], log="killed\n", events='{"v": 1, "seq": 1, "ty')
    client.post(f"/jobs/{job['id']}/stop")
    started = time.monotonic()
    kinds = [kind for _, kind, _ in parse_stream(client.get(f"/jobs/{job['id']}/events").text)]
    assert kinds.count("log") == 1
    assert time.monotonic() - started < 5


def test_a_list_of_failed_jobs_reads_no_checkpoint(client, job, monkeypatch):
    with write() as session:
        row = session.get_one(Job, job["id"])
        row.status, row.reason = JobStatus.FAILED, ExitReason.KILLED

    def read(_folder):
        raise AssertionError("a checkpoint of gigabytes was read for a list")

    with monkeypatch.context() as patched:
        patched.setattr("qlora_studio.services.remedies.checkpoints.find_newest_whole", read)
        [listed] = client.get("/jobs").json()["items"]
    assert (listed["next_action"]["kind"], listed["next_action"]["label"]) == ("resume", "Resume")
    assert client.get(f"/jobs/{job['id']}").json()["next_action"]["kind"] == "restart"
