"""Values to try, as they are typed into the wizard."""

import pytest

from qlora_studio.contracts.enums import JobStatus, TrainingType
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models import Job
from qlora_studio.services import drafts
from qlora_studio.services.draft_sweeps import SWEEPABLE, build_sweep, read_axes
from qlora_studio.services.drafts import Draft, build_spec, draft_of_job, preset_values
from qlora_studio.state.wizard_sweep import OPTIONS, sweep_errors, sweep_note


def draft(**sweep: str) -> Draft:
    return Draft(
        name="n",
        dataset_id="d",
        model_id="m",
        values=preset_values(),
        sweep={name.replace("__", "."): text for name, text in sweep.items()},
    )


def test_values_are_read_as_their_parameter_has_them() -> None:
    found = read_axes(draft(qlora__rank="4, 8,16,", optimization__learning_rate="1e-3, 0.002"))
    assert found == {"qlora.rank": [4, 8, 16], "optimization.learning_rate": [0.001, 0.002]}
    typed = draft(optimization__gradient_checkpointing="true, false", qlora__target_modules="auto, attention")
    assert list(read_axes(typed).values()) == [[True, False], ["auto", "attention"]]
    assert read_axes(draft(qlora__rank=" , ")) == {}
    assert read_axes(draft(preference__beta="0.1, 0.2")) == {}, "not shown, so no obstacle"


def test_without_values_it_is_one_job() -> None:
    spec, axes, specs = build_sweep(draft())
    assert (axes, specs) == ({}, [spec])
    _, axes, specs = build_sweep(draft(qlora__rank="4, 8", optimization__batch_size="1, 2"))
    assert [(s.qlora.rank, s.optimization.batch_size) for s in specs] == [(4, 1), (4, 2), (8, 1), (8, 2)]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [("4, eight", "Give a whole number."), ("4, 0", "1 or more"), ("4, 4", "there twice")],
)
def test_what_is_wrong_with_values_is_said_where_they_are(typed: str, sentence: str) -> None:
    errors = sweep_errors(draft(qlora__rank=typed))
    assert list(errors) == ["axes.qlora.rank"]
    assert sentence in errors["axes.qlora.rank"]
    with pytest.raises(InvalidInput):
        build_sweep(draft(qlora__rank=typed))


@pytest.mark.parametrize(
    ("sweep", "note"),
    [
        ({}, ""),
        ({"qlora__rank": "4"}, "One job. Give more values, separated by commas."),
        ({"qlora__rank": "4, 8"}, "2 jobs, as one group."),
        ({"qlora__rank": "4, 8", "qlora__alpha": "1, 2, 3"}, "2 × 3 values: 6 jobs, as one group."),
        ({"optimization__seed": ", ".join(map(str, range(65)))}, "65 jobs. A sweep has 64 at most."),
        ({"qlora__rank": "4, x"}, "Some values can't be read yet."),
    ],
)
def test_the_jobs_are_counted_while_typing(sweep: dict[str, str], note: str) -> None:
    assert sweep_note(draft(**sweep)) == note


def test_every_parameter_offered_can_be_varied() -> None:
    assert {name for name, _ in OPTIONS} <= SWEEPABLE <= drafts.FIELDS
    assert "optimization.learning_rate" in {name for name, _ in OPTIONS}


def test_a_job_done_again_varies_its_clips_as_it_did() -> None:
    noise = {"noise": {"probability": 1.0}}
    spec = {"name": "n", "dataset_id": "d", "model_id": "m", "augmentation": noise, "after_job_id": "job_1"}
    job = Job(
        owner_id="u", name="n", training_type=TrainingType.QLORA, dataset_id="d", model_id="m",
        spec=spec, status=JobStatus.SUCCEEDED,
    )  # fmt: skip
    again = build_spec(draft_of_job(job))
    assert again.augmentation is not None
    assert again.augmentation.noise is not None
    assert again.augmentation.noise.probability == 1.0
    assert again.after_job_id is None, "whether that one still runs is asked where it can be known"
