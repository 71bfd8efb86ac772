"""The loop with nothing stood in for: takes, what people say of them, datasets, jobs, adapters, takes."""

import math
from pathlib import Path

import pytest
import soundfile
from sqlmodel import Session, select

from qlora_studio.contracts.enums import JobStatus, TrainingType
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, Take, User
from qlora_studio.ingest import launching
from qlora_studio.jobs import supervisor
from qlora_studio.services import datasets, engine_host, generations, inference, jobs, lineage, making, models
from qlora_studio.services.engine_host import EngineHost
from qlora_studio.services.generation_schemas import GenerationCreate
from qlora_studio.services.model_schemas import ModelCreate
from qlora_studio.storage import layout
from tests.services.test_feedback_datasets import exported, make
from tests.services.test_ratings import add_takes, rate
from tests.services.test_votes import say
from tests.training import melodies, tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


@pytest.fixture
def model(data_folder: Path, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaseAudioModel:
    monkeypatch.setenv("QLORA_STUDIO_MODEL_ROOTS", str(tmp_path))
    get_settings.cache_clear()
    folder = melodies.make_musicgen(tmp_path / "musicgen")
    with db.write() as session:
        form = ModelCreate.model_validate({"source": {"kind": "path", "path": str(folder)}})
        return models.register(session, actor=user, data=form)


def sounding(user: User, model: BaseAudioModel, prompt: str, pitches: list[float]) -> list[Take]:
    """Takes of a text, each a real tone."""
    takes = add_takes(user, len(pitches), prompt=prompt, model_id=model.id)
    for number, (take, pitch) in enumerate(zip(takes, pitches, strict=True)):
        path = layout.take_path(take.generation_id, take.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = melodies.tone(pitch, seconds=0.4 + 0.02 * number)
        soundfile.write(path, tone, tiny.RATE, subtype="PCM_16")
    return takes


def made_of(user: User, name: str, **wanted) -> Dataset:
    """A dataset from feedback, taken in by a process of its own."""
    dataset = make(user, name, **wanted)
    assert launching.wait(dataset.id, 120)
    with db.read() as session:
        found = datasets.get_dataset(session, actor=user, dataset_id=dataset.id)
    assert (found.status, found.error) == ("ready", None)
    return found


def trained(user: User, dataset: Dataset, model: BaseAudioModel, kind: TrainingType) -> tuple[Job, Adapter]:
    spec = TrainSpec.model_validate(
        {
            "name": kind.value, "dataset_id": dataset.id, "model_id": model.id, "training_type": kind,
            "qlora": {"rank": 4, "alpha": 8, "dropout": 0.0},
            "optimization": {
                "max_steps": 12, "batch_size": 4, "learning_rate": 1e-2, "warmup_ratio": 0.0
            },
            "evaluation": {"every_steps": 6, "n_samples": 1, "probe": False},
        }
    )  # fmt: skip
    with db.write() as session:
        job_id = jobs.submit(session, actor=user, spec=spec).id
    supervisor.run_until_done([job_id])
    with db.read() as session:
        job = session.get_one(Job, job_id)
        assert (job.status, job.reason) == (JobStatus.SUCCEEDED, "ok"), job.message
        return job, session.exec(select(Adapter).where(Adapter.job_id == job_id)).one()


def edges(session: Session, user: User, adapter: Adapter) -> set[tuple[str, str]]:
    """Where an adapter came from and what came of it: each two steps by kind and name."""
    found = lineage.get_lineage(session, actor=user, adapter_id=adapter.id)
    names = {node.id: f"{node.kind.value} {node.name}" for node in found.nodes}
    return {(names[edge.source], names[edge.target]) for edge in found.edges}


def test_what_people_say_trains_adapters_whose_takes_they_judge_again(
    user: User, model: BaseAudioModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, pitch in {**melodies.PITCHES, "a mid tone": 700.0}.items():
        *good, bad = sounding(user, model, text, [pitch, pitch * 1.01, pitch * 0.99, pitch * 3])
        for take in good:
            rate(user, take, 5)
        rate(user, bad, 1)
    first = made_of(user, "Good", min_stars=4)
    assert (first.n_clips, first.version) == (9, 1)
    job, adapter = trained(user, first, model, TrainingType.QLORA)
    assert (adapter.dataset_id, adapter.dataset_version) == (first.id, 1)
    assert adapter.metrics["eval_loss"] < adapter.base_metrics["eval_loss"], "it has learned"  # type: ignore[operator]

    made = EngineHost(engine_host.COMMAND, idle_s=60.0)
    monkeypatch.setattr(inference, "host", made)
    try:
        for prompt in ("tone a", "tone b", "tone c", "tone d"):
            judge_pair(user, model, adapter, prompt)
    finally:
        made._end_child()
    for number, letter in enumerate("efghijkl"):  # no two texts with one sound, or they stay together
        low, high = sounding(user, model, f"tone {letter}", [150.0 * 1.2**number, 1000.0 * 1.2**number])
        say(user, low.id, high.id, "left")
    second = made_of(user, "Compared", target="pairs")
    held_out = {clip.text for clip in exported(second) if clip.split == "validation"}
    assert held_out, "pairs that nothing is learned from"
    later, tuned = trained(user, second, model, TrainingType.PREFERENCE)
    assert tuned.base_metrics["eval_loss"] == pytest.approx(math.log(2)), "its reference is itself, off"
    assert (tuned.base_metrics["reward_margin"], tuned.base_metrics["reward_accuracy"]) == (0.0, 0.5)
    assert 0.5 <= tuned.metrics["reward_accuracy"] <= 1.0  # type: ignore[operator]
    assert tuned.metrics["reward_margin"] > 0.0  # type: ignore[operator]
    assert (later.dataset_id, later.dataset_version, job.dataset_version) == (second.id, 1, 1)
    with db.read() as session:
        before, after = edges(session, user, adapter), edges(session, user, tuned)
    assert before == {
        ("generations 3 generations", "feedback Takes rated 4 or more (mean)"),
        ("feedback Takes rated 4 or more (mean)", "dataset Good"),
        ("dataset Good", "job qlora"),
        ("job qlora", "adapter qlora"),
        ("adapter qlora", "generations 4 generations"),
        ("generations 4 generations", "feedback 4 ratings"),
        ("feedback 4 ratings", "dataset Compared"),
    }
    assert after == {
        ("adapter qlora", "generations 4 generations"),
        ("generations 4 generations", "feedback Pairs by the votes"),
        ("generations 8 generations", "feedback Pairs by the votes"),
        ("feedback Pairs by the votes", "dataset Compared"),
        ("dataset Compared", "job preference"),
        ("job preference", "adapter preference"),
    }


def judge_pair(user: User, model: BaseAudioModel, adapter: Adapter, prompt: str) -> None:
    """Two takes that the adapter makes, of which one is rated and preferred."""
    form = GenerationCreate(
        model_id=model.id, adapter_id=adapter.id, prompt=prompt, duration_s=0.4, n_takes=2, seed=3
    )
    with db.write() as session:
        asked = generations.start(session, actor=user, form=form, in_background=False).id
    making.run(asked)
    with db.read() as session:
        found = generations.get_own(session, actor=user, generation_id=asked)
        assert found.error == ""
        one, other = generations.takes_of(session, [found])[asked]
    rate(user, one, 5)
    say(user, one.id, other.id, "left")
