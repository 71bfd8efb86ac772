"""What an adapter came from and what came of it."""

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import DatasetStatus, Preference, Task
from qlora_studio.core.errors import NotFound
from qlora_studio.db.models import Adapter, Clip, Dataset, Dictation, Generation, Job, PreferenceVote, Take
from qlora_studio.services import lineage
from qlora_studio.services.lineage import Lineage
from tests.conftest import make_user


def add(session: Session, *rows) -> None:
    for row in rows:
        session.add(row)
        session.commit()


@pytest.fixture
def trained(session, user, model, dataset, submit) -> Adapter:
    job = submit()
    made = Adapter(
        owner_id=user.id, name="prompts", base_model_id=model.id, job_id=job.id, path="/a",
        dataset_id=dataset.id, dataset_version=3,
    )  # fmt: skip
    add(session, made)
    return made


def edges(graph: Lineage) -> set[tuple[str, str]]:
    names = {node.id: f"{node.kind.value} {node.name}" for node in graph.nodes}
    return {(names[edge.source], names[edge.target]) for edge in graph.edges}


def look(session: Session, user, adapter: Adapter) -> Lineage:
    return lineage.get_lineage(session, actor=user, adapter_id=adapter.id)


def make_takes(session, user, model, adapter, n: int) -> list[Take]:
    asked = Generation(
        owner_id=user.id, prompt="rain", model_id=model.id, model_name="m", adapter_id=adapter.id,
        duration_s=1, seed=1, n_takes=n, n_done=n, guidance=3, temperature=1,
    )  # fmt: skip
    add(session, asked)
    takes = [
        Take(
            generation_id=asked.id, owner_id=user.id, model_id=model.id, position=i, seed=i,
            duration_s=1, sample_rate=16_000, size_bytes=1, n_ratings=i,
        )
        for i in range(n)
    ]  # fmt: skip
    add(session, *takes)
    return takes


def test_from_a_dataset_to_the_feedback(session, user, model, trained):
    start = {("dataset Call centre", "job prompts-r16"), ("job prompts-r16", "adapter prompts")}
    assert edges(look(session, user, trained)) == start
    first, second, _ = make_takes(session, user, model, trained, 3)
    other = make_takes(session, user, model, Adapter(id="ada_other", path=""), 1)[0]
    for one, two in ((first, second), (first, other)):
        add(session, PreferenceVote(
            rater_id=user.id, first_take_id=one.id, second_take_id=two.id, pair_key=f"{one.id} {two.id}",
            owner_id=user.id, model_id=model.id, prompt_key="k", verdict=Preference.LEFT,
        ))  # fmt: skip
    graph = look(session, user, trained)
    assert edges(graph) == start | {
        ("adapter prompts", "generations 1 generation"),
        ("generations 1 generation", "feedback 3 ratings"),
    }
    details = {node.kind.value: node.detail for node in graph.nodes}
    assert details["dataset"] == "Version 3"
    assert (details["generations"], details["feedback"]) == ("3 takes", "2 votes")
    assert sorted(node.column for node in graph.nodes) == [0, 1, 2, 3, 4]
    with pytest.raises(NotFound):
        look(session, make_user(session, "bob"), trained)


def test_takes_lead_to_the_datasets_that_hold_them(session, user, model, trained):
    take = make_takes(session, user, model, trained, 1)[0]
    other = make_takes(session, user, model, Adapter(id="ada_other", path=""), 1)[0]
    made = {"owner_id": user.id, "task": Task.TEXT_TO_AUDIO, "status": DatasetStatus.READY}
    for name, held in (("Good takes", take), ("Of another", other)):
        dataset = Dataset(name=name, source={"kind": "feedback"}, **made)
        add(session, dataset)
        add(session, Clip(dataset_id=dataset.id, position=0, filename=f"{held.id}.wav"))
    targets = {target for _, target in edges(look(session, user, trained))}
    assert "dataset Good takes" in targets
    assert "dataset Of another" not in targets


def test_corrections_lead_to_the_next_dataset(session, user, model, dataset, trained):
    run = Dictation(
        owner_id=user.id, dataset_id=dataset.id, model_id=model.id, model_name="m",
        adapter_id=trained.id, n_clips=9, n_done=9, n_checked=4,
    )  # fmt: skip
    add(session, run)
    source = {"kind": "corrections", "dictation_id": run.id, "dataset_id": dataset.id}
    made = {"owner_id": user.id, "task": Task.SPEECH_TO_TEXT, "status": DatasetStatus.READY}
    add(session, Dataset(name="Corrected", source=source, **made), Dataset(name="Not of it", **made))
    found = edges(look(session, user, trained))
    assert ("dictation 9 clips written down", "feedback 4 texts checked") in found
    assert ("feedback 4 texts checked", "dataset Corrected") in found
    assert not any("Not of it" in target for _, target in found)


def test_an_adapter_that_is_trained_on_shows_both_ways(session, user, model, trained, submit):
    again = submit(launch_key="2", name="longer")
    again.spec = again.spec | {"start_adapter_id": trained.id}
    left = Adapter(owner_id=user.id, name="better", base_model_id=model.id, job_id=again.id, path="/b")
    add(session, again, left)
    assert ("job longer", "adapter better") in edges(look(session, user, trained))
    assert ("adapter prompts", "job longer") in edges(look(session, user, left))
    session.delete(trained)
    session.commit()
    [gone] = [node for node in look(session, user, left).nodes if node.kind == "adapter" and node.is_gone]
    assert gone.name == "Adapter deleted"


def test_what_is_missing_is_said(session, user, model):
    lost = Adapter(owner_id=user.id, name="lost", base_model_id=model.id, path="/a", dataset_version=2)
    brought = Adapter(
        owner_id=user.id,
        name="b",
        base_model_id=model.id,
        path="/b",
        origin={"kind": "imported", "file": "x.zip"},
    )
    add(session, lost, brought)
    assert edges(look(session, user, lost)) == {
        ("dataset Dataset deleted", "job Job deleted"),
        ("job Job deleted", "adapter lost"),
    }
    assert edges(look(session, user, brought)) == {("elsewhere x.zip", "adapter b")}


def test_of_very_many_the_newest_are_shown(session, user, model, trained, submit, monkeypatch):
    monkeypatch.setattr(lineage, "MOST", 1)
    for key in ("2", "3"):
        job: Job = submit(launch_key=key, name=f"again {key}")
        job.spec = job.spec | {"start_adapter_id": trained.id}
        add(session, job)
    graph = look(session, user, trained)
    assert graph.n_left_out == 1
    assert [node.name for node in graph.nodes if node.detail == "Trains it on"] == ["again 3"]


def test_a_dataset_from_feedback_leads_back_to_who_made_its_takes(
    session, user, model, dataset, trained
) -> None:
    early = Adapter(owner_id=user.id, name="early", base_model_id=model.id, path="/e")
    add(session, early)
    takes = make_takes(session, user, model, early, 2)
    plain = make_takes(session, user, model, Adapter(id=None, path=""), 1)
    own = make_takes(session, user, model, trained, 1)
    dataset.source = {"kind": "feedback", "filter": {"min_stars": 3}}
    clips = [
        Clip(dataset_id=dataset.id, position=100 + i, filename=f"{take.id}.wav", split="train")
        for i, take in enumerate([*takes, *plain])
    ]
    add(session, dataset, *clips)
    trained.dataset_version = dataset.version
    with_own = Clip(dataset_id=dataset.id, position=200, filename=f"{own[0].id}.wav", status="excluded")
    add(session, trained, with_own)
    graph = look(session, user, trained)
    found = edges(graph)
    assert {
        ("adapter early", "generations 1 generation"),
        ("generations 1 generation", "feedback Takes rated 3 or more (mean)"),
        ("feedback Takes rated 3 or more (mean)", "dataset Call centre"),
    } <= found
    assert [node.detail for node in graph.nodes if node.column == -1] == ["3 takes"]
    assert len({node.id for node in graph.nodes}) == len(graph.nodes), "a later version is another step"
    assert [node.column for node in graph.nodes if node.kind == "dataset"] == [0, 5]
