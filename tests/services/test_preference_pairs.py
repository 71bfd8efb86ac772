"""Pairs of recordings out of the marks in their labels, and jobs that learn from them."""

import json

from sqlmodel import select

from qlora_studio.contracts.enums import Split, Task, TrainingType
from qlora_studio.contracts.spec import ClipItem, EvaluationSpec, OptimizationSpec, PairItem, TrainSpec
from qlora_studio.db.models import Clip, Job, JobSample
from qlora_studio.services import job_checks, job_reading, jobs, sweeps
from qlora_studio.services.preference_pairs import pair_up
from qlora_studio.storage import layout
from tests.jobs.workbench import make_dataset, make_model, spec_data


def clip(name, label, *, text="a bell", split=Split.TRAIN):
    return ClipItem(id=name, path=f"/{name}", duration_s=1.0, text=text, label=label, split=split)


def test_marks_make_pairs_of_sounds_on_one_side():
    found = pair_up(
        [
            clip("a", "1+ 2- 7+"),
            clip("b", "1-"),
            clip("c", "2+"),
            clip("l", "6+", split=Split.VALIDATION),
            clip("m", "6- 7-", split=Split.VALIDATION),
            clip("d", "3+"),
            clip("e", "4+"),
            clip("f", "4-", text="rain"),
            clip("g", "drum"),
            clip("h", None),
            clip("i", "5+"),
            clip("j", "5-"),
            clip("k", "5+"),
        ]
    )
    told = [(pair.id, pair.chosen, pair.rejected, pair.split) for pair in found.whole]
    assert told == [
        ("pair_1", "/a", "/b", Split.TRAIN),
        ("pair_2", "/c", "/a", Split.TRAIN),
        ("pair_6", "/l", "/m", Split.VALIDATION),
    ]
    assert found.n_broken == 3, "one has no worse half, one has two texts, one has two better halves"
    assert found.n_parted == 1, "of the last one the better sound is trained on, the worse one held out"
    assert (found.count(Split.TRAIN), found.count(Split.VALIDATION)) == (2, 1)


def preference_job(session, user, *, task=Task.TEXT_TO_AUDIO, labels=()):
    dataset, model = make_dataset(session, user), make_model(session, user)
    dataset.task = model.task = task
    rows = session.exec(select(Clip).where(Clip.dataset_id == dataset.id).order_by(Clip.position)).all()
    for row, label in zip(rows, labels, strict=False):
        row.label, row.text = label, "a bell"
        row.split = Split.VALIDATION if label.startswith("3") else Split.TRAIN
    session.flush()
    return TrainSpec.model_validate(
        spec_data(dataset, model) | {"training_type": TrainingType.PREFERENCE, "preference": {"beta": 0.2}}
    )


def test_a_job_gets_its_pairs_and_is_refused_without(session, user):
    spec = preference_job(session, user, labels=("1+", "1-", "2+", "2-", "3+", "3-"))
    check = jobs.validate(session, actor=user, spec=spec)
    assert check.ok, check.errors
    assert check.forecast["memory"]["weights_bytes"] < 4 * 2_000_000, "the base is in 4 bits"
    once = OptimizationSpec(epochs=1, batch_size=1)
    check = jobs.validate(session, actor=user, spec=spec.model_copy(update={"optimization": once}))
    assert check.forecast["time"]["total_steps"] == 2, "a step for each pair, not for each clip"
    wrong = spec.model_copy(update={"evaluation": EvaluationSpec(metric="accuracy")})
    errors = jobs.validate(session, actor=user, spec=wrong).errors
    assert "reward_accuracy, loss" in errors["evaluation.metric"]
    job = jobs.submit(session, actor=user, spec=spec)
    lines = (layout.run_path(job.id) / "clips.jsonl").read_text().splitlines()
    pairs = [PairItem.model_validate(json.loads(line)) for line in lines]
    assert [pair.id for pair in pairs] == ["pair_1", "pair_2", "pair_3"]
    assert pairs[2].split is Split.VALIDATION


def test_a_sweep_finds_its_pairs_once_and_not_for_each_job(session, user, monkeypatch):
    n_found = 0

    def counted(clips):
        nonlocal n_found
        n_found += 1
        return pair_up(clips)

    monkeypatch.setattr(job_checks, "pair_up", counted)
    spec = preference_job(session, user, labels=("1+", "1-", "2+", "2-", "3+", "3-"))
    sweeps.submit(session, actor=user, spec=spec, axes={"preference.beta": [0.1, 0.2, 0.3, 0.4, 0.5]})
    assert n_found == 2, "for the first job's check, and for all others"
    made = session.exec(select(Job)).all()
    assert len(made) == 5
    assert len({job.forecast["time"]["total_steps"] for job in made}) == 1


def test_too_few_pairs_and_other_tasks_are_refused_with_the_reason(session, user):
    few = preference_job(session, user, labels=("1+", "1-", "2+"))
    check = jobs.validate(session, actor=user, spec=few)
    assert "1 pairs to train on and 0 held out" in check.errors["dataset_id"]
    assert "1 pair is left out" in check.warnings[0]
    speech = preference_job(session, user, task=Task.SPEECH_TO_TEXT)
    errors = jobs.validate(session, actor=user, spec=speech).errors
    assert errors["training_type"] == "Preference tuning is for text-to-audio models."


def test_the_sample_of_a_pair_is_heard_by_its_better_clip(session, user):
    spec = preference_job(session, user, labels=("1+ 2-", "1-", "2+", "12+", "3+", "3-"))
    job = jobs.submit(session, actor=user, spec=spec)
    ids = ("pair_1", "pair_2", "pair_9", "clip_gone")
    samples = [JobSample(job_id=job.id, step=1, clip_id=i, reference="a bell", now="") for i in ids]
    found = job_reading.find_sample_clips(session, samples=samples)
    assert {found[name].label for name in ("pair_1", "pair_2")} == {"1+ 2-", "2+"}
    assert set(ids) & set(found) == {"pair_1", "pair_2"}
