"""What the pages say of a job."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import soundfile

from qlora_studio.contracts.enums import ExitReason, JobStatus, TrainingType
from qlora_studio.core.clock import utc_now
from qlora_studio.db.models import Job, JobSample
from qlora_studio.jobs import metrics
from qlora_studio.services.job_schemas import JobPublic, JobView
from qlora_studio.services.words import Word, compare
from qlora_studio.state.job_curves import MAX_TAIL, CurveFeed
from qlora_studio.state.job_rows import job_page, job_row
from qlora_studio.state.job_samples import sample_row
from qlora_studio.storage import layout


def view(**values):
    job = Job(
        **{
            "owner_id": "usr_1",
            "name": "prompts",
            "training_type": TrainingType.QLORA,
            "dataset_id": "ds_1",
            "model_id": "mod_1",
            "spec": {"evaluation": {"metric": "wer"}, "qlora": {"rank": 16, "bits": 4}},
            **values,
        }
    )
    return JobView(job=job, model_name="Whisper", dataset_name="Prompts", queue_position=values.get("q"))


def page(**values):
    return job_page(view(**values), device="cpu", checkpoint_step=40)


def test_the_headline_goes_from_the_base_to_the_best():
    shown = page(base_metrics={"wer": 0.842}, best_metrics={"wer": 0.41}, last_metrics={"wer": 0.5})
    assert (shown.before, shown.now, shown.is_better) == ("84.2\u00a0%", "41.0\u00a0%", True)
    assert shown.change == "51 % lower than the base model"


def test_more_is_better_of_an_accuracy():
    shown = page(base_metrics={"accuracy": 0.25}, best_metrics={"accuracy": 0.75})
    assert (shown.metric_name, shown.before, shown.now) == ("accuracy", "25.0\u00a0%", "75.0\u00a0%")
    assert (shown.change, shown.is_better) == ("200 % higher than the base model", True)
    assert not page(base_metrics={"accuracy": 0.5}, best_metrics={"accuracy": 0.25}).is_better


@pytest.mark.parametrize(("metric", "is_higher_better"), [("reward_accuracy", True), ("wer", False)])
def test_the_arrow_goes_the_way_that_is_better(metric, is_higher_better):
    before, now = (0.5, 0.75) if is_higher_better else (0.75, 0.5)
    shown = page(base_metrics={metric: before}, best_metrics={metric: now})
    assert (shown.is_better, shown.is_higher_better) == (True, is_higher_better)


def test_before_any_evaluation_there_is_no_number():
    shown = page(base_metrics={"wer": 0.842})
    assert (shown.before, shown.now, shown.change) == ("84.2\u00a0%", "–", "")


@pytest.mark.parametrize(
    ("status", "can_stop", "can_resume", "can_delete"),
    [
        (JobStatus.QUEUED, True, False, True),
        (JobStatus.RUNNING, True, False, False),
        (JobStatus.STOPPING, False, False, False),
        (JobStatus.SUCCEEDED, False, False, True),
        (JobStatus.STOPPED, False, True, True),
        (JobStatus.LOST, False, True, True),
    ],
)
def test_buttons_follow_from_the_status(status, can_stop, can_resume, can_delete):
    shown = page(status=status)
    assert (shown.can_stop, shown.can_resume, shown.can_delete) == (can_stop, can_resume, can_delete)


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        (ExitReason.OOM_HOST, "Halve the batch to 4 and accumulate 2"),
        (ExitReason.NAN_LOSS, "Train again at a learning rate of 0.00017"),
        (ExitReason.BAD_DATA, "Open the dataset"),
        (ExitReason.KILLED, "Start again"),
        (None, "Start again"),
    ],
)
def test_a_failure_offers_one_next_action(reason, label):
    shown = page(status=JobStatus.FAILED, reason=reason, message="It broke.")
    assert shown.action.label == label
    assert shown.action.is_done_here != bool(shown.action.href)


def test_a_silent_worker_is_shown_as_stalled():
    at = datetime(2026, 11, 22, 20, 31, 5, tzinfo=UTC)
    silent = {"is_stalled": True, "heartbeat_at": at, "step": 30, "total_steps": 60}
    assert "No sign of life since 20:31:05 UTC" in page(status=JobStatus.RUNNING, **silent).stalled
    assert job_row(view(status=JobStatus.RUNNING, **silent)).progress == "Stalled at 50 %"
    assert JobPublic.of(view(status=JobStatus.STOPPING, **silent)).is_stalled
    for status in (JobStatus.QUEUED, JobStatus.FAILED):
        assert page(status=status, **silent).stalled == ""
        assert not JobPublic.of(view(status=status, **silent)).is_stalled


@pytest.mark.parametrize("moved", [timedelta(days=-1), timedelta(days=1)])
def test_a_clock_that_was_moved_makes_nothing_stalled_or_negative(moved):
    then = utc_now() + moved
    shown = page(status=JobStatus.RUNNING, started_at=then, heartbeat_at=then, created_at=then)
    assert shown.stalled == ""
    assert "-" not in shown.took


def test_words_are_compared_without_case_and_punctuation():
    assert compare("Please press 2.", "please pres 2") == [
        Word("please", "same"),
        Word("pres", "wrong"),
        Word("press", "missing"),
        Word("2", "same"),
    ]
    assert compare("a b", "") == [Word("a", "missing"), Word("b", "missing")]
    assert compare("", "") == []


def test_a_row_says_where_the_job_is(data_folder):
    assert job_row(view(status=JobStatus.QUEUED)).progress == "In the queue"
    row = job_row(view(status=JobStatus.RUNNING, step=30, total_steps=60, epoch=1.5, eta_s=65.0))
    assert (row.percent, row.progress, row.eta) == (50.0, "50 % · epoch 1.5", "1 min 5 s left")
    assert job_row(view(status=JobStatus.SUCCEEDED, step=30, total_steps=60)).percent == 100


def append(writer, first, last):
    rows = [(metrics.sequence(1, i), i, float(i), 1 / i) for i in range(first, last)]
    writer.append({"loss": rows, "cpu_percent": rows})


def test_a_page_gets_the_whole_curve_once_and_then_what_is_new(data_folder):
    writer = metrics.MetricsWriter(layout.run_path("job_1") / "metrics")
    feed = CurveFeed("job_1", ("loss",))
    assert feed.whole() == {}
    append(writer, 1, 11)
    assert feed.more() is None  # a new curve: all of it
    assert feed.whole()["loss"]["x"] == list(range(1, 11))
    append(writer, 11, 13)
    assert list(feed.more()) == ["loss"]
    append(writer, 13, 14)
    assert feed.more()["loss"]["x"] == [11, 12, 13]
    assert feed.has_grown
    feed.more()
    assert not feed.has_grown
    append(writer, 14, 14 + MAX_TAIL)
    assert feed.more() is None


def test_what_another_feed_has_read_is_at_hand_unless_a_curve_goes_whole(data_folder):
    writer = metrics.MetricsWriter(layout.run_path("job_1") / "metrics")
    append(writer, 1, 11)
    first, second, late = (CurveFeed("job_1", ("loss",)) for _ in range(3))
    first.whole()
    second.whole()
    append(writer, 11, 13)
    assert not second.is_at_hand("one")
    first.more("one")
    assert second.is_at_hand("one")
    assert second.more("one")["loss"]["x"] == [11, 12]
    assert not late.is_at_hand("one"), "it was never sent the curve"
    append(writer, 13, 13 + MAX_TAIL)
    assert first.more("two") is None
    assert not second.is_at_hand("two"), "its tail would be too long, so all of it is read"


def test_a_curve_that_was_cut_is_sent_whole_again(data_folder):
    writer = metrics.MetricsWriter(layout.run_path("job_1") / "metrics")
    append(writer, 1, 50)
    feed = CurveFeed("job_1")
    feed.whole()
    writer.append({"loss": [(metrics.sequence(2, 1), 20, 1.0, 0.5)]})
    assert feed.more() is None
    assert feed.whole()["loss"]["x"] == list(range(1, 21))


def test_not_a_number_is_a_gap(data_folder):
    writer = metrics.MetricsWriter(layout.run_path("job_1") / "metrics")
    writer.append({"loss": [(metrics.sequence(1, 1), 1, 1.0, float("nan"))]})
    assert CurveFeed("job_1").whole()["loss"]["y"] == [None]


@pytest.mark.parametrize(
    ("device", "forecast", "shown"),
    [("cuda", {"device": "cpu"}, "CUDA"), ("auto", {"device": "cpu"}, "CPU"), ("", {}, "–")],
)
def test_a_worker_that_has_not_looked_yet_is_where_the_forecast_put_it(device, forecast, shown):
    assert job_page(view(forecast=forecast), device=device, checkpoint_step=None).device == shown


def test_a_sample_of_classes_says_how_sure_the_model_is_of_the_right_one():
    top = [{"label": "bass", "probability": 0.7}, {"label": "drum", "probability": 0.2}]
    values = {"job_id": "job_1", "step": 1, "clip_id": "c", "reference": "drum", "details": {"top": top}}
    row = sample_row(JobSample(**values, now="bass", error=0.8), None)
    assert (row.verdict, row.is_right) == ("Wrong, 20\u00a0% for the right class", False)
    assert [(c.label, c.share, c.is_right) for c in row.classes] == [
        ("bass", "70\u00a0%", False),
        ("drum", "20\u00a0%", True),
    ]
    row = sample_row(JobSample(**{**values, "reference": "bass"}, now="bass", error=0.3), None)
    assert (row.verdict, row.is_right) == ("Right, 70\u00a0% sure", True)


def test_a_sample_of_sound_has_players_for_base_and_now(data_folder):
    folder = layout.run_path("job_1") / "samples"
    for name, seconds in (("base", 0.5), ("00000010", 1.0)):
        (folder / name).mkdir(parents=True)
        sound = np.sin(np.arange(round(16_000 * seconds)) / 10)
        soundfile.write(folder / name / "0.flac", sound, 16_000)
    details = {"sound": "samples/00000010/0.flac", "base_sound": "samples/base/0.flac"}
    values = {"job_id": "job_1", "step": 10, "clip_id": "c", "reference": "a bell", "now": "", "error": 31.04}
    row = sample_row(JobSample(**values, details=details), None)
    assert row.verdict == "31.0 dB from the recording"
    assert [(s.name, s.seconds, s.label) for s in row.sounds] == [
        ("Base", "0.500", "Base: a bell"),
        ("Now", "1.000", "Now: a bell"),
    ]
    assert row.sounds[1].src == "/api/v1/jobs/job_1/samples/10/c/sound?of=now"
    assert row.sounds[1].peaks
    escaping = {"sound": "samples/../../secret.key", "base_sound": "/etc/passwd"}
    assert sample_row(JobSample(**values, details=escaping), None).sounds == []
    assert page(last_metrics={"mel_distance": 31.0}).has_sounds


def test_preferences_are_the_headline_of_their_jobs():
    values = {"reward_accuracy": 0.5, "reward_margin": 0.0, "eval_loss": 0.693}
    shown = page(base_metrics=values, best_metrics={**values, "reward_accuracy": 1.0})
    assert (shown.metric_name, shown.before, shown.now) == ("preferences met", "50.0\u00a0%", "100.0\u00a0%")
    assert shown.has_preferences
    assert shown.base == 0.5


def test_a_sample_of_speech_says_how_many_words_are_wrong():
    values = {"job_id": "job_1", "step": 1, "clip_id": "c", "reference": "one two", "now": "one two"}
    assert sample_row(JobSample(**values, error=0.0), None).verdict == "Exact"
    assert sample_row(JobSample(**values, error=0.5), None).verdict == "50\u00a0% wrong"


def test_what_it_took_stands_beside_what_was_foretold():
    forecast = {
        "device": "cpu",
        "memory": {"total_bytes": 1_500_000_000, "n_devices": 2},
        "time": {"low_s": 60, "high_s": 240},
        "disk": {"total_bytes": 30_000_000},
    }
    running = page(forecast=forecast, actual={"peak_rss_bytes": 2_000_000_000}).actuals
    assert [(row.foretold, row.took) for row in running] == [
        ("3.0 GB", "2.0 GB"), ("1 min to 4 min", ""), ("30.0 MB", "")
    ]  # fmt: skip
    ended = {"peak_gpu_bytes": 9_000_000_000, "peak_rss_bytes": 1, "seconds": 90.0, "disk_bytes": 12_000_000}
    on_card = page(forecast={**forecast, "device": "cuda"}, actual=ended).actuals
    assert [row.took for row in on_card] == ["9.0 GB", "1 min 30 s", "12.0 MB"]
    assert on_card[0].name == "Graphics memory at the peak"
    assert on_card[0].foretold == "1.5 GB", "each card has its own"
    assert page().actuals == [], "a job from before there were forecasts"


def test_a_job_that_waits_for_another_names_it():
    queued = replace(view(status=JobStatus.QUEUED), queue_position=2)
    assert job_row(queued).progress == "Place 2 in the queue"
    assert job_row(replace(queued, after_name="first")).progress == "Place 2 in the queue, after “first”"
