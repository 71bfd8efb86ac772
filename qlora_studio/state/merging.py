"""The merged model on an adapter's page."""

import asyncio
from dataclasses import dataclass

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import Forbidden, NotFound
from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import merging
from qlora_studio.services.merging import MergeStatus
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.watching import Watch

LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class MergeView:
    """Where the merge is, in words."""

    state: str = "none"
    progress: str = ""
    message: str = ""
    sentence: str = ""
    size: str = ""
    download: str = ""


class MergingState(rx.State):
    """The card “Merged model”."""

    merge: MergeView = MergeView()
    bits: str = "16"
    is_adding: bool = False
    _watch_id: int = 0

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show where the merge of this adapter is."""
        try:
            self.merge = await asyncio.to_thread(_look, actor, self._shown_id())
        except (NotFound, Forbidden):  # nobody merges what others share
            self.merge = MergeView()

    @rx.event(background=True)
    @authorized()
    async def watch(self, actor: User):
        """Follow the merge until it has ended."""
        watch, adapter_id = Watch(self), self._shown_id()
        await watch.take_over()
        while await watch.goes_on(every_s=LOOK_EVERY_S):
            try:
                found = await asyncio.to_thread(_look, actor, adapter_id)
            except (NotFound, Forbidden):
                return
            if found != self.merge:
                async with self:
                    if not watch.is_newest:
                        return
                    self.merge = found
            if found.state != "running":
                return

    @rx.event
    @authorized()
    async def choose_bits(self, bits: str):
        """Choose the width of the merged weights."""
        if bits in ("16", "32"):
            self.bits = bits

    @rx.event
    @authorized(Role.TRAINER)
    async def start(self, actor: User):
        """Begin to merge."""
        await asyncio.to_thread(merging.start, actor=actor, adapter_id=self._shown_id(), bits=int(self.bits))
        self.merge = await asyncio.to_thread(_look, actor, self._shown_id())
        return MergingState.watch

    @rx.event
    @authorized(Role.TRAINER)
    async def remove(self, actor: User):
        """Cancel the merge, or remove what it has left."""
        await asyncio.to_thread(_remove, actor, self._shown_id())
        return [MergingState.load, MergingState.watch]

    @rx.event
    @authorized(Role.TRAINER)
    async def add_model(self, actor: User):
        """Add the merged model as a base model and open it."""
        self.is_adding = True
        yield
        try:
            model = await asyncio.to_thread(merging.register, actor=actor, adapter_id=self._shown_id())
        finally:
            self.is_adding = False
        yield rx.toast.success("Base model added")
        yield rx.redirect(f"/models/{model.id}")

    def _shown_id(self) -> str:
        return str(getattr(self, "adapter_id", "") or "")


def merge_view(status: MergeStatus, adapter_id: str) -> MergeView:
    """Return where a merge is, as the page shows it."""
    report = status.report
    return MergeView(
        state=status.state,
        progress=status.progress,
        message=status.message,
        sentence=report.sentence if report else "",
        size=f"{formats.size(report.size_bytes)}, {report.bits} bits" if report else "",
        download=f"/api/v1/adapters/{adapter_id}/merge/download",
    )


def _look(actor: User, adapter_id: str) -> MergeView:
    with db.read() as session:
        return merge_view(merging.get_status(session, actor=actor, adapter_id=adapter_id), adapter_id)


def _remove(actor: User, adapter_id: str) -> None:
    with db.write() as session:
        merging.remove(session, actor=actor, adapter_id=adapter_id)
    merging.wait(adapter_id, 5.0)
