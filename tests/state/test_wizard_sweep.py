"""Typing values to try into the wizard."""

from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import drafts
from qlora_studio.services.drafts import Draft, preset_values
from qlora_studio.state.wizard import WizardState
from qlora_studio.state.wizard_rows import ChoiceRow
from tests.state.calling import Opener, call


@pytest.fixture
def state(opened: Opener, session: Session, user: User) -> Any:
    made = opened(WizardState)
    made.values, made.step = preset_values(), 2
    return made


def kept(user: User) -> Draft:
    with db.read() as session:
        found = drafts.get_draft(session, actor=user)
    assert found is not None
    return found


async def test_parameters_are_added_typed_changed_and_removed(state: Any, user: User) -> None:
    await call(state, "add_axis")
    await call(state, "add_axis")
    assert [axis for axis, _, _ in state.axes] == ["optimization.learning_rate", "qlora.rank"]
    await call(state, "set_axis_values", index=0, name="optimization.learning_rate", text="0.001, 0.002")
    await call(state, "set_axis_values", index=1, name="qlora.rank", text="4, 8, x")
    assert state.field_errors["axes.qlora.rank"] == "Give a whole number."
    await call(state, "set_axis_values", index=1, name="qlora.rank", text="4, 8")
    assert (state.sweep_note, "axes.qlora.rank" in state.field_errors) == (
        "2 × 2 values: 4 jobs, as one group.",
        False,
    )
    assert kept(user).sweep == {"optimization.learning_rate": "0.001, 0.002", "qlora.rank": "4, 8"}
    await call(state, "set_axis", index=1, name="optimization.learning_rate")
    assert state.axes[1][0] == "qlora.rank", "each parameter once"
    await call(state, "set_axis", index=1, name="optimization.seed")
    assert state.axes[1][:2] == ["optimization.seed", "0"]
    await call(state, "remove_axis", index=0)
    assert kept(user).sweep == {"optimization.seed": "0"}


async def test_three_parameters_are_the_most_and_odd_ones_are_not_taken(state: Any) -> None:
    for _ in range(5):
        await call(state, "add_axis")
    assert len(state.axes) == 3
    await call(state, "set_axis", index=0, name="dataset_id")
    await call(state, "set_axis", index=9, name="optimization.seed")
    await call(state, "set_axis_values", index=-1, name=state.axes[-1][0], text="1")
    assert "dataset_id" not in {axis for axis, _, _ in state.axes}
    assert len({axis for axis, _, _ in state.axes}) == 3


async def test_a_line_is_the_same_while_it_is_typed_in_and_new_when_the_page_is_wrong(state: Any) -> None:
    await call(state, "add_axis")
    await call(state, "add_axis")
    keys = [key for _, _, key in state.axes]
    assert len(set(keys)) == 2
    await call(state, "set_axis", index=1, name="optimization.seed")
    await call(state, "set_axis_values", index=1, name="qlora.rank", text="4, 8")  # sent late
    assert state.axes[1] == ["optimization.seed", "0", keys[1]]
    await call(state, "set_axis_values", index=1, name="optimization.seed", text="0, 1")
    assert state.axes[1] == ["optimization.seed", "0, 1", keys[1]]
    await call(state, "set_axis", index=1, name="optimization.learning_rate")
    assert state.axes[1][:2] == ["optimization.seed", "0, 1"]
    assert state.axes[1][2] not in keys, "the page shows a parameter that was refused"
    await call(state, "remove_axis", index=0)
    state._show_sweep(state._draft())
    assert state.axes[0][:2] == ["optimization.seed", "0, 1"]


async def test_what_a_job_waits_for_is_no_parameter(state: Any, user: User) -> None:
    await call(state, "set_value", field="after_condition", text="succeeded")
    assert (state.is_touched, kept(user).is_touched) == (False, False)
    await call(state, "set_value", field="qlora.rank", text="4")
    assert kept(user).is_touched


async def test_next_says_what_has_to_be_put_right(state: Any) -> None:
    state.name, state.dataset, state.model = "n", ChoiceRow("ds_1"), ChoiceRow("mod_1")
    state.values["qlora.rank"], state.axes = "0", [["qlora.alpha", "8, x", "1"]]
    await call(state, "next_step")
    assert (
        state.problem
        == "Put these right first. Rank: Give 1 or more. Alpha: Give a number, such as 0.001 or 1e-3."
    )
    assert (state.step, list(state.field_errors)) == (2, ["qlora.rank", "axes.qlora.alpha"])
