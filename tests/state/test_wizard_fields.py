import pytest

from qlora_studio.services.drafts import FIELDS
from qlora_studio.state.wizard_fields import ALL, BASIC, describe_bounds


def test_every_parameter_of_a_job_has_one_field() -> None:
    names = [parameter.name for parameter in ALL]
    assert len(set(names)) == len(names)
    assert set(names) == FIELDS
    assert len(BASIC) == 6


def test_every_parameter_is_explained() -> None:
    for parameter in ALL:
        assert parameter.label
        assert parameter.help.endswith(".")
        if parameter.kind == "number":
            assert parameter.bounds, f"{parameter.name} does not say its bounds"
        if parameter.kind == "choice":
            of_now = ("evaluation.metric", "after_job_id", "start_adapter_id")  # what there is to choose
            assert parameter.options or parameter.name in of_now


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("qlora.rank", "1 to 512."),
        ("qlora.dropout", "0 to below 1."),
        ("optimization.learning_rate", "Above 0, up to 1."),
        ("optimization.max_steps", "1 to 10,000,000."),
        ("training_type", ""),
    ],
)
def test_bounds_come_from_the_schema(name: str, bounds: str) -> None:
    assert describe_bounds(name) == bounds
