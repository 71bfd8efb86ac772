"""Background looks of a page: an old one does not replace what a newer load has shown."""

from typing import Any

import pytest
from sqlmodel import Session

from qlora_studio.contracts.enums import DatasetStatus, ModelStatus, Task
from qlora_studio.db.models import BaseAudioModel, Dataset, User
from qlora_studio.state import dashboard, dataset, dataset_intake, model
from qlora_studio.state.dashboard import DashboardState
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_intake import DatasetIntakeState
from qlora_studio.state.model import ModelState
from tests.state.calling import Opener, SlowReading, call, hold_by_itself


def a_model(user: User) -> BaseAudioModel:
    return BaseAudioModel(owner_id=user.id, name="m", task=Task.SPEECH_TO_TEXT, status=ModelStatus.CHECKING)


def a_dataset(user: User) -> Dataset:
    return Dataset(owner_id=user.id, name="d", task=Task.SPEECH_TO_TEXT, status=DatasetStatus.PROCESSING)


@pytest.mark.parametrize(
    ("kind", "module", "reading", "shown", "make", "after"),
    [
        (ModelState, model, "_load", "model", a_model, ModelStatus.READY),
        (DatasetState, dataset, "_load", "dataset", a_dataset, DatasetStatus.READY),
        (DatasetIntakeState, dataset_intake, "_dataset", "intake", a_dataset, DatasetStatus.READY),
        (DashboardState, dashboard, "_read", "counts", a_dataset, None),
    ],
)
async def test_a_slow_reading_does_not_replace_what_a_newer_one_has_shown(
    kind: Any, module: Any, reading: str, shown: str, make: Any, after: Any,
    user: User, session: Session, opened: Opener, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    hold_by_itself(kind, monkeypatch)
    thing = make(user)
    session.add(thing)
    session.commit()
    state = opened(kind, model_id=thing.id, dataset_id=thing.id)
    await call(state, "load")
    slow = SlowReading(module, reading, monkeypatch)
    old = await slow.begin_watch(state)
    if after is None:
        session.add(make(user))
    else:
        thing.status = after
    session.commit()
    await call(state, "load")
    newer, state._watch_id = getattr(state, shown), state._watch_id + 1  # as a reloaded page takes over
    slow.may_end()
    await old
    assert getattr(state, shown) == newer
