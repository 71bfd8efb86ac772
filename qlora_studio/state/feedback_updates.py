"""The dialog that brings a dataset from feedback up to date: what comes and goes, and then doing it."""

import asyncio

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import StudioError
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import feedback_updates
from qlora_studio.services.datasets import get_dataset
from qlora_studio.services.feedback_updates import FeedbackUpdate
from qlora_studio.state.auth import authorized
from qlora_studio.state.feedback import FeedbackState


class FeedbackUpdateState(rx.State):
    """The dialog “Update from feedback” over the list of datasets."""

    dataset_id: str = ""
    name: str = ""
    message: str = ""
    added: str = "0"
    removed: str = "0"
    kept: str = "0"
    can_update: bool = False
    problem: str = ""
    is_sending: bool = False

    @rx.event
    @authorized(Role.TRAINER)
    async def ask(self, actor: User, dataset_id: str):
        """Say what would come and go."""
        self.name, found = await asyncio.to_thread(_look, actor, dataset_id[:32])
        self.added, self.removed = f"{found.n_added:,}", f"{found.n_removed:,}"
        self.kept, self.message = f"{found.n_kept:,}", _told(found)
        self.can_update, self.problem = not found.is_up_to_date, ""
        self.dataset_id = dataset_id[:32]

    @rx.event
    @authorized()
    async def close(self):
        """Leave the dataset as it is."""
        self.dataset_id = ""

    @rx.event
    @authorized(Role.TRAINER)
    async def update_it(self, actor: User):
        """Make the next version."""
        self.is_sending, self.problem = True, ""
        yield
        try:
            await asyncio.to_thread(_start, actor, self.dataset_id)
        except StudioError as error:
            self.problem = error.message
            return
        finally:
            self.is_sending = False
        self.dataset_id = ""
        yield rx.toast.success("The dataset is being brought up to date")
        yield FeedbackState.refresh


def _told(found: FeedbackUpdate) -> str:
    """What the counts above it leave unsaid."""
    if found.is_up_to_date:
        return found.message
    stay_out = f" {found.n_left_out:,} more stay out: you have left their takes out." * bool(found.n_left_out)
    return f"The next version has {found.n_rows:,}.{stay_out}"


def _look(actor: User, dataset_id: str) -> tuple[str, FeedbackUpdate]:
    with db.read() as session:
        name = get_dataset(session, actor=actor, dataset_id=dataset_id).name
        return name, feedback_updates.preview(session, actor=actor, dataset_id=dataset_id)


def _start(actor: User, dataset_id: str) -> None:
    with db.write() as session:
        feedback_updates.start(session, actor=actor, dataset_id=dataset_id)
