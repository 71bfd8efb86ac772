"""The client against the real API, in one process."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session, select

from qlora_studio.api import build_api
from qlora_studio.client import ApiError, Studio
from qlora_studio.contracts.enums import DatasetStatus, DictationStatus, GenerationStatus, JobStatus, Task
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, Dataset, User
from qlora_studio.ingest import launching, pipeline
from qlora_studio.jobs import supervisor
from qlora_studio.services import inference, trial_clips
from qlora_studio.services.engine_host import EngineHost
from qlora_studio.storage import layout
from tests.commands.conftest import recordings  # noqa: F401 - a fixture
from tests.ingest import sounds
from tests.jobs.workbench import make_dataset, make_model, spec_data
from tests.modelfiles.build import whisper_folder
from tests.services.test_dictations import decoded_here, speech_model
from tests.services.test_engine_host import COMMAND
from tests.services.test_generations import sound_model

PASSWORD = "blue-harbour-42-rain"


@pytest.fixture
def studio(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setenv("QLORA_STUDIO_MODEL_ROOTS", str(tmp_path))
    get_settings.cache_clear()
    inner = TestClient(build_api(), base_url="http://127.0.0.1:3000")

    def forward(request: httpx.Request) -> httpx.Response:
        answer = inner.request(
            request.method, str(request.url), headers=dict(request.headers), content=request.read()
        )
        inner.cookies.clear()
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)

    with Studio(transport=httpx.MockTransport(forward)) as opened:
        opened.sign_up("ada", "ada@example.org", PASSWORD)
        opened.log_in("ada", PASSWORD)
        yield opened
    inner.close()


def test_refusals_carry_the_fields(studio: Studio) -> None:
    with pytest.raises(ApiError) as caught:
        studio.add_model({"kind": "path", "path": "/etc"})
    assert caught.value.status == 422
    assert "source.path" in caught.value.errors
    with pytest.raises(ApiError) as caught:
        studio.get_job("job_nothing")
    assert caught.value.status == 404


def test_a_wrong_password_is_said(studio: Studio) -> None:
    with pytest.raises(ApiError) as caught:
        studio.log_in("ada", "wrong")
    assert caught.value.status == 401


def test_lists_run_over_all_pages(studio: Studio, tmp_path: Path) -> None:
    for index in range(3):
        studio.add_model({"kind": "path", "path": str(whisper_folder(tmp_path / f"m{index}"))})
    assert len(list(studio.list_models(page_size=1))) == 3
    assert [model.name for model in studio.list_models(query="m1")] == ["m1"]


def test_an_uploaded_speech_model_can_be_for_another_task(studio: Studio, tmp_path: Path) -> None:
    folder = whisper_folder(tmp_path / "tiny")
    made = studio.upload_model(folder, task=Task.AUDIO_CLASSIFICATION)
    assert studio.wait_for_model(made.id, timeout_s=30).task is Task.AUDIO_CLASSIFICATION


def test_adapters_are_sorted_in_and_activated(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    model = studio.add_model({"kind": "starter"})
    with db.write() as session:
        owner_id = session.exec(select(User.id)).one()
        adapter_id = "ada_0000000000001"
        made = Adapter(id=adapter_id, owner_id=owner_id, name="a", base_model_id=model.id, path=str(tmp_path))
        session.add(made)
    changed = studio.update_adapter(adapter_id, name="b", tags=["Loud"], stage="production")
    assert (changed.name, changed.tags, changed.stage, changed.replaces) == (
        "b",
        ["loud"],
        "production",
        None,
    )
    assert studio.activate_adapter(adapter_id, strength=0.5).is_active
    assert studio.get_adapter(adapter_id).active_strength == 0.5
    assert not studio.deactivate_adapter(adapter_id).is_active
    assert [node["kind"] for node in studio.get_lineage(adapter_id).nodes] == ["adapter", "job", "dataset"]
    with pytest.raises(ApiError) as caught:
        studio.activate_adapter(adapter_id, strength=9)
    assert caught.value.status == 422
    assert studio.update_adapter(adapter_id, archived=True).archived_at
    assert list(studio.list_adapters()) == []
    studio.delete_adapter(adapter_id)
    assert list(studio.list_adapters(archived=True)) == []


@pytest.mark.slow
def test_from_upload_to_adapter(
    studio: Studio,
    recordings: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QLORA_STUDIO_WORKER", "toy")
    dataset = studio.add_dataset({"kind": "upload"}, name="Words")
    for path in sorted(recordings.iterdir()):
        studio.upload_file(dataset.id, path)
    studio.ingest(dataset.id)
    assert studio.wait_for_dataset(dataset.id, timeout_s=60).n_clips == 10
    model = studio.wait_for_model(
        studio.add_model({"kind": "path", "path": str(whisper_folder(tmp_path / "m"))}).id
    )
    spec = TrainSpec(name="by client", dataset_id=dataset.id, model_id=model.id)
    check = studio.check_job(spec)
    assert check.ok
    assert {"memory", "time", "disk"} <= set(check.forecast)
    job = studio.start_job(spec, idempotency_key="once")
    assert studio.start_job(spec, idempotency_key="once").id == job.id
    watcher = threading.Thread(target=supervisor.run_until_done, args=([job.id],))
    watcher.start()
    done = studio.wait_for_job(job.id, timeout_s=60)
    watcher.join()
    assert done.status is JobStatus.SUCCEEDED
    assert {"status", "progress", "metric"} <= {event.type for event in studio.watch_job(job.id)}
    assert studio.get_metrics(job.id, "loss")["loss"]["value"]
    assert studio.get_metrics(job.id, "loss", from_step=3, to_step=4)["loss"]["step"] == [3, 4]
    log = studio.get_log(job.id, search="step 2/")
    assert (log.n_found, len(log.lines), studio.get_log(job.id, cursor=log.cursor).lines) == (1, 1, [])
    assert {"words", "error"} <= set(studio.get_samples(job.id)[0])
    assert done.adapter_id == next(studio.list_adapters()).id
    assert studio.download_adapter(str(done.adapter_id), tmp_path / "a.zip").stat().st_size > 0
    assert studio.download_results(job.id, tmp_path / "r.zip").stat().st_size > 0
    assert studio.download_tensorboard(job.id, tmp_path / "t.zip").stat().st_size > 0
    with pytest.raises(ApiError, match="your credentials"):
        studio.push_adapter(str(done.adapter_id), "ada/prompts", "cred_nobody")
    with pytest.raises(ApiError, match="no such push"):
        studio.get_push("psh_nothing")
    with pytest.raises(ApiError, match="no such push"):
        studio.cancel_push("psh_nothing")


def test_a_dataset_is_judged_cleaned_split_and_taken_out(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoding_here: None
) -> None:
    monkeypatch.setattr(launching, "launch", pipeline.run)
    dataset = studio.add_dataset({"kind": "upload"}, name="Words")
    for number in range(4):
        for name, content in (
            ("wav", sounds.wav(0.5, pitch=300 + 9 * max(number, 1))),
            ("txt", b"word %d" % number),
        ):
            path = tmp_path / f"{number}.{name}"
            path.write_bytes(content)
            studio.upload_file(dataset.id, path)
    studio.ingest(dataset.id)
    report = studio.get_report(dataset.id)
    assert {check.key: check.n_to_leave_out for check in report.checks}["duplicate_audio"] == 1
    left_out = studio.leave_out(dataset.id, "duplicate_audio")
    assert studio.take_back(dataset.id, left_out.id) == left_out.n_left_out == 1
    assert studio.leave_out(dataset.id, clip_ids=[_first_clip(studio, dataset.id)])
    ratios = {"train": 0.5, "validation": 0.5}
    shown = studio.preview_split(dataset.id, ratios, seed=3)
    assert sum(part["n_clips"] for part in shown["splits"].values()) == 3
    studio.split(dataset.id, ratios, seed=3)
    assert studio.set_limits(dataset.id, min_duration_s=0.9).n_flagged == 3
    assert studio.restore_version(dataset.id, 1).n_clips == 4
    assert [v.number for v in studio.list_versions(dataset.id)] == list(range(6, 0, -1))
    assert studio.export_dataset(dataset.id, tmp_path / "x.csv", format="csv").read_text().count("\n") == 5


def _first_clip(studio: Studio, dataset_id: str) -> str:
    return studio._send("GET", f"/datasets/{dataset_id}/clips")["items"][0]["id"]


def test_a_mapping_is_looked_at_and_credentials_come_and_go(studio: Studio, tmp_path: Path) -> None:
    made = studio.add_dataset({"kind": "upload"}, mapping={"text": "words"})
    (tmp_path / "metadata.csv").write_text("clip,words\na.wav,one\n")
    (tmp_path / "a.wav").write_bytes(sounds.wav(0.1))
    for name in ("metadata.csv", "a.wav"):
        studio.upload_file(made.id, tmp_path / name)
    seen = studio.preview_mapping(made.id)
    assert (seen.mapping, seen.n_matched, seen.n_unmatched) == ({"file": "clip", "text": "words"}, 1, 0)
    assert "no column" in (studio.preview_mapping(made.id, {"text": "nope"}).refusal or "")
    with pytest.raises(ApiError, match="Nothing is under way"):
        studio.cancel_dataset(made.id)
    credential = studio.add_credential("hub", "mine", token="hf_secret")
    assert [c.name for c in studio.list_credentials()] == ["mine"]
    studio.delete_credential(credential.id)
    assert studio.list_credentials() == []


def test_jobs_are_swept_moved_cloned_and_deleted(studio: Studio) -> None:
    with db.write() as session:
        user = session.exec(select(User)).one()
        data = spec_data(make_dataset(session, user), make_model(session, user))
    sweep = studio.start_sweep(
        TrainSpec.model_validate(data), {"qlora.rank": [4, 8], "optimization.batch_size": [1, 2]}
    )
    assert [row.values["qlora.rank"] for row in sweep.rows] == [4, 4, 8, 8]
    assert [found.id for found in studio.list_sweeps()] == [sweep.id]
    last = sweep.rows[3].job_id
    assert studio.move_job(last, 1).items[0].id == last
    copies = [studio.clone_job(last, {"name": "copy"}, idempotency_key="c") for _ in range(2)]
    assert (copies[0].id, copies[0].queue_position) == (copies[1].id, 5)
    assert studio.pause_queue("New disk.").note == studio.get_queue().note == "New disk."
    assert not studio.resume_queue().is_paused
    compared = studio.compare_jobs(sweep.rows[0].job_id, last)
    changed = {"qlora.rank", "optimization.batch_size"}
    assert changed <= {row["key"] for row in compared["differences"]}
    assert studio.stop_sweep(sweep.id).statuses == {JobStatus.STOPPED: 4}
    assert studio.resume_job(last).attempt == 2
    studio.delete_job(copies[0].id)
    assert studio.get_sweep(sweep.id).n_jobs == 4
    with pytest.raises(ApiError, match="nothing to put right"):
        studio.take_next_action(sweep.rows[0].job_id)


def take_a_listening_test(studio: Studio, model_id: str, folder: Path) -> None:
    with pytest.raises(ApiError) as refused:
        studio.create_listening_test("Which", [{"model_id": model_id}] * 2, ["rain"])
    assert refused.value.status == 422
    with Session(db.get_engine(), expire_on_commit=False) as session:
        other = sound_model(session, session.exec(select(User)).one(), "other")
    contestants = [{"model_id": model_id}, {"model_id": other.id}]
    made = studio.create_listening_test(
        "Which", contestants, ["rain"], duration_s=0.1, n_seeds=1, catch_every=0
    )
    assert studio.wait_for_listening_test(made.id, timeout_s=30).status == "open"
    (question,) = studio.ask_listening_test(made.id)
    assert studio.download_side(question.id, "left", folder / "left.wav").read_bytes()[:4] == b"RIFF"
    studio.answer_question(question.id, "left")
    assert studio.ask_listening_test(made.id) == []
    told = studio.get_listening_results(made.id)
    assert (told.n_votes, len(told.standings)) == (1, 2)
    assert studio.decide_about_rater(made.id, told.raters[0]["rater_id"], True).n_votes == 0
    assert studio.close_listening_test(made.id).status == "closed"
    assert "rain" in studio.export_listening_test(made.id, folder / "all.csv", format="csv").read_text()
    assert [test.id for test in studio.list_listening_tests()] == [made.id]
    studio.delete_listening_test(made.id)


@pytest.mark.slow
def test_clips_are_written_down_and_corrected(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    host = EngineHost(COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", host)
    monkeypatch.setattr(trial_clips, "decode", decoded_here)
    with Session(db.get_engine(), expire_on_commit=False) as session:
        owner = session.exec(select(User)).one()
        dataset, model = make_dataset(session, owner, n_train=1, n_validation=1), speech_model(session, owner)
        for position in range(2):
            path = layout.blob_path(f"{position:064x}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"sound")
    try:
        asked = studio.start_dictation(dataset.id, model.id, clips="all")
        done = studio.wait_for_dictation(asked.id, timeout_s=30)
        assert (done.status, done.n_done) == (DictationStatus.SUCCEEDED, 2)
        assert [found.id for found in studio.list_dictations(dataset.id)] == [asked.id]
        first, _ = studio.list_transcripts(asked.id)
        studio.correct_transcript(asked.id, first.clip_id, "what was said")
        assert [row.text for row in studio.list_transcripts(asked.id, show="checked")] == ["what was said"]
        assert studio.apply_corrections(asked.id) == dataset.version + 1
        assert studio.create_dataset_of_corrections(asked.id, "Corrected").n_clips == 1
        studio.correct_transcript(asked.id, first.clip_id, "")
        assert studio.get_dictation(asked.id).n_checked == 0
        assert studio.stop_dictation(asked.id).status is DictationStatus.SUCCEEDED
        studio.delete_dictation(asked.id)
        assert list(studio.list_dictations(dataset.id)) == []
    finally:
        host._end_child()


@pytest.mark.slow
def test_takes_are_made_and_fetched(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = EngineHost(COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", host)
    with Session(db.get_engine(), expire_on_commit=False) as session:
        model = sound_model(session, session.exec(select(User)).one())
    try:
        asked = studio.start_generation("rain", model.id, n_takes=2, duration_s=0.1, idempotency_key="one")
        assert studio.start_generation(
            "rain", model.id, n_takes=2, duration_s=0.1, idempotency_key="one"
        ).id == (asked.id)
        done = studio.wait_for_generation(asked.id, timeout_s=30)
        assert (done.status, done.n_done) == (GenerationStatus.SUCCEEDED, 2)
        assert [found.id for found in studio.list_generations(query="rain")] == [asked.id]
        assert studio.download_take(done.takes[0].id, tmp_path / "a.wav").read_bytes()[:4] == b"RIFF"
        take = done.takes[0].id
        assert studio.rate_take(take, 5, tags=["warm"]).tags == ["warm"]
        assert [rating.stars for rating in studio.list_ratings(take)] == [5]
        assert studio.get_feedback_stats(model_id=model.id).n_ratings == 1
        assert studio.get_readiness(n_needed=1).is_ready
        _bring_up_to_date(studio, monkeypatch)
        assert studio.set_readiness_rule(n_needed=3).is_own
        studio.forget_readiness_rule()
        assert studio.get_readiness_rule().n_needed == 50
        assert studio.list_feedback_days(1)[0].n_ratings == 1
        studio.like_take(take)
        assert [one.is_favorite for one in studio.get_generation(asked.id).takes] == [True, False]
        assert [one.id for one in studio.list_generations(favorite=True, tag="warm")] == [asked.id]
        studio.like_take(take, is_favorite=False)
        assert list(studio.list_generations(favorite=True)) == []
        kept = studio.keep_prompt("Roof", "rain on a roof", n_takes=3)
        assert studio.change_prompt_template(kept.id, name="Tin").n_takes == 3
        assert [one.name for one in studio.list_prompt_templates()] == ["Tin"]
        studio.delete_prompt_template(kept.id)
        studio.remove_rating(take)
        assert studio.list_ratings(take) == []
        assert studio.share_generation(asked.id, "use").id == asked.id
        assert list(studio.list_shared_generations()) == []
        pair = studio.get_next_pair()
        assert pair is not None
        assert studio.prefer(pair, "left").first_take_id == pair.first.id
        assert studio.get_next_pair() is None
        assert studio.undo_preference().id == pair.id
        assert studio.get_next_pair(without=[pair.id]) is None
        studio.delete_generation(asked.id)
        assert list(studio.list_generations()) == []
        take_a_listening_test(studio, model.id, tmp_path)
    finally:
        host._end_child()


def _bring_up_to_date(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """One take is rated; a dataset from feedback that is ready has none yet."""
    monkeypatch.setattr(launching, "launch", lambda _: None)
    with Session(db.get_engine(), expire_on_commit=False) as session:
        owner = session.exec(select(User)).one()
        made = Dataset(owner_id=owner.id, name="Good", task=Task.TEXT_TO_AUDIO, status=DatasetStatus.READY)
        made.source = {"kind": "feedback"}
        session.add(made)
        session.commit()
    assert studio.preview_feedback_update(made.id).n_added == 1
    assert studio.update_from_feedback(made.id).status is DatasetStatus.PROCESSING
    assert studio.cancel_dataset(made.id).status is DatasetStatus.READY
