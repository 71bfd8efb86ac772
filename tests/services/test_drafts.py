import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import Task, TrainingType
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models import BaseAudioModel, Dataset, Job, User
from qlora_studio.services import drafts
from qlora_studio.services.drafts import (
    FIELDS,
    Draft,
    build_spec,
    delete_draft,
    draft_of_job,
    get_draft,
    is_range_test,
    preset_values,
    range_test_of,
    save_draft,
)
from qlora_studio.services.presets import preset_for


def full(**changes: str) -> Draft:
    values = preset_values(preset=preset_for(family="whisper", task=Task.SPEECH_TO_TEXT)) | {
        k.replace("__", "."): v for k, v in changes.items()
    }
    return Draft(name="first run", dataset_id="ds_1", model_id="mod_1", values=values)


def test_a_draft_is_kept_replaced_and_thrown_away(session: Session, user: User, stranger: User) -> None:
    assert get_draft(session, actor=user) is None
    draft = full(optimization__learning_rate="1e-")
    save_draft(session, actor=user, draft=draft)
    session.commit()
    assert get_draft(session, actor=user) == draft, "half-typed values are kept as they are"
    assert get_draft(session, actor=stranger) is None
    save_draft(session, actor=user, draft=draft.model_copy(update={"step": 2}))
    session.commit()
    kept = get_draft(session, actor=user)
    assert kept is not None
    assert (kept.step, kept.launch_key) == (2, draft.launch_key)
    delete_draft(session, actor=user)
    session.commit()
    assert get_draft(session, actor=user) is None


def test_each_draft_has_a_launch_key_of_its_own() -> None:
    assert len({Draft().launch_key for _ in range(20)}) == 20


@pytest.mark.parametrize("family", ["", "whisper", "wav2vec2-bert"])
@pytest.mark.parametrize("kind", ["qlora", "lora"])
def test_presets_make_a_whole_job(family: str, kind: str) -> None:
    values = preset_values(kind, preset=preset_for(family=family, task=Task.SPEECH_TO_TEXT))
    assert set(values) == FIELDS
    spec = build_spec(Draft(name="n", dataset_id="d", model_id="m", values=values))
    assert spec.training_type == TrainingType(kind)
    assert spec.qlora.bits == (4 if kind == "qlora" else 32)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("qlora.rank", "0"),
        ("qlora.rank", "sixteen"),
        ("qlora.rank", "1.5"),
        ("qlora.rank", ""),
        ("qlora.rank", "9" * 5000),
        ("qlora.dropout", "1"),
        ("qlora.dropout", "nan"),
        ("qlora.target_modules", "everything"),
        ("optimization.learning_rate", "1e308"),
        ("optimization.learning_rate", "-1"),
        ("optimization.learning_rate", "inf"),
        ("optimization.learning_rate", "fast"),
        ("optimization.batch_size", "-8"),
        ("optimization.scheduler", "; touch x"),
        ("evaluation.metric", "beauty"),
    ],
)
def test_nonsense_is_named_field_by_field(field: str, text: str) -> None:
    draft = full()
    draft.values[field] = text
    with pytest.raises(InvalidInput) as caught:
        build_spec(draft)
    assert list(caught.value.fields) == [field]


def test_every_wrong_field_is_named_at_once() -> None:
    draft = full(qlora__rank="x", optimization__batch_size="0")
    draft.name = "  "
    with pytest.raises(InvalidInput) as caught:
        build_spec(draft)
    assert set(caught.value.fields) == {"name", "qlora.rank", "optimization.batch_size"}


def test_epochs_and_steps_together_are_refused_in_place() -> None:
    draft = full(optimization__epochs="3", optimization__max_steps="60")
    with pytest.raises(InvalidInput) as caught:
        build_spec(draft)
    assert set(caught.value.fields) == {"optimization.max_steps"}


def test_layers_can_be_picked() -> None:
    draft = full()
    draft.is_picking_layers = True
    with pytest.raises(InvalidInput) as caught:
        build_spec(draft)
    assert "qlora.target_modules" in caught.value.fields
    draft.picked_layers = ["q_proj", "fc1"]
    assert build_spec(draft).qlora.target_modules == ["q_proj", "fc1"]


def test_fields_that_do_not_exist_are_left_out() -> None:
    draft = full()
    draft.values["owner_id"] = "usr_1"
    assert build_spec(draft).name == "first run"


def test_a_job_can_be_typed_again() -> None:
    spec = TrainSpec.model_validate(
        {
            "name": "before",
            "dataset_id": "ds_1",
            "model_id": "mod_1",
            "qlora": {"rank": 4, "target_modules": ["fc1"], "double_quant": False},
            "optimization": {"max_steps": 7, "learning_rate": 0.00037},
            "evaluation": {"metric": "cer"},
        }
    )
    job = Job(
        owner_id="u",
        name="before",
        training_type=TrainingType.QLORA,
        dataset_id="ds_1",
        model_id="mod_1",
        spec=spec.model_dump(mode="json"),
    )
    draft = draft_of_job(job)
    again = build_spec(draft)
    assert again.name == "before again"
    assert again.model_copy(update={"name": "before"}) == spec


def test_bounds_are_said_plainly() -> None:
    draft = full(qlora__rank="0", optimization__learning_rate="2", qlora__dropout="1")
    with pytest.raises(InvalidInput) as caught:
        build_spec(draft)
    assert caught.value.fields == {
        "qlora.rank": "Give 1 or more.",
        "qlora.dropout": "Give less than 1.",
        "optimization.learning_rate": "Give 1 or less.",
    }


def test_a_range_test_keeps_everything_but_how_the_rate_moves() -> None:
    spec = build_spec(full(qlora__rank="4", optimization__batch_size="2"))
    test = range_test_of(spec)
    assert is_range_test(test)
    assert not is_range_test(spec)
    assert (test.qlora, test.optimization.batch_size) == (spec.qlora, 2)
    assert (test.optimization.epochs, test.optimization.max_steps) == (None, 100)
    assert len(range_test_of(spec.model_copy(update={"name": "n" * 120})).name) <= 120


def _tested(session: Session, user: User, draft: Draft, **report: object) -> Job:
    """The range test of a draft, done."""
    spec = range_test_of(build_spec(draft))
    return Job(
        name=spec.name, owner_id=user.id, dataset_id="ds_1", model_id="mod_1", training_type="qlora",
        spec=spec.model_dump(mode="json"), report={"range_test": report},
        launch_key=f"{user.id}:{drafts.range_test_key(draft, spec)}",
    )  # fmt: skip


def test_after_a_range_test_the_draft_goes_on_with_the_rate_alone_changed(
    session: Session, user: User
) -> None:
    planned = {"epochs": "7", "scheduler": "cosine", "learning_rate": "0.01"}
    draft = full(**{f"optimization__{name}": value for name, value in planned.items()})
    save_draft(session, actor=user, draft=draft)
    next_one = drafts.draft_after(session, actor=user, job=_tested(session, user, draft, best_rate=7e-4))
    spec = build_spec(next_one)
    expected = build_spec(draft).optimization.model_copy(update={"learning_rate": 7e-4})
    assert (spec.optimization, next_one.launch_key) == (expected, draft.launch_key)
    assert next_one.is_touched, "a preset must not take the rate away"
    unchanged = drafts.draft_after(session, actor=user, job=_tested(session, user, draft, best_rate=None))
    assert build_spec(unchanged).optimization.learning_rate == 0.01


def test_after_the_draft_was_launched_its_job_tells_what_was_planned(session: Session, user: User) -> None:
    draft = full(optimization__epochs="", optimization__max_steps="250")
    test = _tested(session, user, draft, best_rate=7e-4)
    launched = Job(
        name="first run", owner_id=user.id, dataset_id="ds_1", model_id="mod_1", training_type="qlora",
        spec=build_spec(draft).model_dump(mode="json"), launch_key=f"{user.id}:{draft.launch_key}",
    )  # fmt: skip
    task = Task.SPEECH_TO_TEXT
    session.add(Dataset(id="ds_1", owner_id=user.id, name="d", task=task))
    session.add(BaseAudioModel(id="mod_1", owner_id=user.id, name="m", task=task))
    session.flush()
    session.add(launched)
    session.flush()
    spec = build_spec(drafts.draft_after(session, actor=user, job=test))
    assert (spec.optimization.max_steps, spec.optimization.learning_rate) == (250, 7e-4)


def test_a_range_test_of_no_draft_is_cloned_into_the_training_at_its_rate() -> None:
    test = range_test_of(build_spec(full(qlora__rank="4")))
    job = Job(
        name=test.name, owner_id="usr_1", dataset_id="ds_1", model_id="mod_1", training_type="qlora",
        spec=test.model_dump(mode="json"), report={"range_test": {"best_rate": 0.0007}},
    )  # fmt: skip
    spec = build_spec(draft_of_job(job).model_copy(update={"dataset_id": "ds_1"}))
    assert (spec.name, spec.qlora.rank) == ("first run", 4)
    assert (spec.optimization.learning_rate, spec.optimization.scheduler) == (0.0007, "linear")
    assert (spec.optimization.epochs, spec.optimization.max_steps) == (None, None)


def test_a_wrong_value_that_is_not_shown_is_no_obstacle() -> None:
    draft = full(preference__beta="much", preference__loss="sigmoid", preference__label_smoothing="0.2")
    assert build_spec(draft).preference == TrainSpec(name="n", dataset_id="d", model_id="m").preference
    draft.values |= {"training_type": "preference"}
    with pytest.raises(InvalidInput) as caught:
        build_spec(draft)
    assert "preference.beta" in caught.value.fields


@pytest.mark.parametrize("other", [{"dataset_id": "ds_2"}, {"model_id": "mod_2"}])
def test_a_rate_found_with_other_things_is_not_put_into_the_draft(
    session: Session, user: User, other: dict[str, str]
) -> None:
    draft = full(qlora__rank="4")
    test = _tested(session, user, draft, best_rate=7e-4)
    save_draft(session, actor=user, draft=draft.model_copy(update=other))
    next_one = drafts.draft_after(session, actor=user, job=test)
    assert next_one.launch_key != draft.launch_key
    assert (next_one.dataset_id, next_one.model_id) == ("ds_1", "mod_1")
    assert build_spec(next_one).optimization.learning_rate == 7e-4
