"""The versions of a dataset: listed, compared word by word, and restored."""

import asyncio
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import reflex as rx

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import NotFound
from qlora_studio.db import engine
from qlora_studio.db.models import DatasetVersion, User
from qlora_studio.services import versions
from qlora_studio.services.versions import ClipDifference, Comparison
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_tabs import DatasetTab
from qlora_studio.state.tables import TableState

KINDS = ("added", "removed", "changed")
_FIELDS = {"sha256": "Recording", "text": "Words", "label": "Label", "speaker": "Speaker", "split": "Split"}
_MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class VersionRow:
    """One version of the list. `before` is the number of the one before, 0 for the first."""

    id: str = ""
    number: int = 0
    before: int = 0
    summary: str = ""
    who: str = ""
    when: str = ""
    when_exact: str = ""
    clips: str = ""
    audio: str = ""
    content_hash: str = ""
    is_present: bool = False


@dataclass(frozen=True)
class Piece:
    """Some words of a text: `same`, `gone` or `new`."""

    text: str = ""
    kind: str = ""


@dataclass(frozen=True)
class FieldRow:
    """A field that differs."""

    name: str = ""
    pieces: list[Piece] = field(default_factory=list)


@dataclass(frozen=True)
class DifferenceRow:
    """A clip that differs between two versions."""

    id: str = ""
    filename: str = ""
    kind: str = ""
    fields: list[FieldRow] = field(default_factory=list)


class VersionsState(DatasetTab, TableState, rx.State):
    """The tab of the versions. With `earlier` and `later` in the address it compares the two."""

    _tab: ClassVar[str] = "versions"
    _path: ClassVar[str] = ""
    _filter_names: ClassVar[tuple[str, ...]] = ("earlier", "later", "kind")

    rows: list[VersionRow] = []
    differences: list[DifferenceRow] = []
    counts: dict[str, str] = {}
    earlier: str = ""
    later: str = ""
    kind: str = ""
    newest: int = 0
    restoring: int = 0  # the version that the dialog asks about
    is_sending: bool = False

    def _address(self, **changes: Any) -> str:
        return f"/datasets/{self.dataset_id}" + super()._address(tab=self._tab, **changes)

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Show the list, or what differs between the two versions that the address names."""
        if not self._is_open():
            return
        self._read_address()
        self.restoring, self.load_error = 0, ""
        pair = [_number(self.filters.get(name, "")) for name in ("earlier", "later")]
        kind = self.filters.get("kind", "")
        self.kind = kind if kind in KINDS else ""
        self.earlier, self.later = (str(number or "") for number in pair)
        try:
            if all(pair):
                await self._compare(actor, *pair)
            else:
                self.earlier = self.later = ""
                self.rows, self.total, self.newest = await asyncio.to_thread(
                    _page, actor, self.dataset_id, self.page, self.page_size
                )
        except NotFound as error:
            self.load_error = error.message
        self.is_loading = False

    async def _compare(self, actor: User, earlier: int, later: int) -> None:
        asked = {"earlier": earlier, "later": later, "kind": self.kind or None}
        asked |= {"page": self.page, "page_size": self.page_size}
        found = await asyncio.to_thread(_comparison, actor, self.dataset_id, asked)
        self.differences, self.total = [difference_row(item) for item in found.items], found.total
        self.counts = {kind: formats.count(found.counts.get(kind, 0)) for kind in KINDS}  # type: ignore[call-overload]

    @rx.event
    @authorized()
    async def compare(self, form: dict[str, str]):
        """Compare the two versions that were typed in, the smaller one first."""
        numbers = sorted(n for n in (_number(form.get(name, "")) for name in ("earlier", "later")) if n)
        if len(numbers) < 2:
            return rx.toast.error("Give the numbers of two versions.")
        return self._go(earlier=numbers[0], later=numbers[1], kind="", page=1, replace=False)

    @rx.event
    @authorized()
    async def show_kind(self, kind: str):
        """Show only clips that were added, removed or changed; the same again shows all."""
        wanted = kind if kind in KINDS and kind != self.kind else ""
        return self._go(kind=wanted, page=1)

    @rx.event
    @authorized(Role.TRAINER)
    async def ask_restore(self, number: int):
        """Ask before a version is restored."""
        self.restoring = number

    @rx.event
    @authorized()
    async def cancel_restore(self):
        """Close the dialog."""
        self.restoring = 0

    @rx.event
    @authorized(Role.TRAINER)
    async def restore(self, actor: User):
        """Make a new version with the content of the one that the dialog names."""
        number = self.restoring
        if not number:
            return
        self.is_sending = True
        yield
        try:
            made = await asyncio.to_thread(_restore, actor, self.dataset_id, number)
        finally:
            self.is_sending, self.restoring = False, 0
        yield rx.toast.success(f"Version {number} is restored as version {made}")
        yield DatasetState.refresh
        yield self._go(earlier="", later="", kind="", page=1)


def version_row(version: DatasetVersion, *, actor: User, present: int) -> VersionRow:
    """Format a version. Those that taking in made have no author."""
    when = formats.when(version.created_at)
    return VersionRow(
        id=str(version.number),
        number=version.number,
        before=version.number - 1,
        summary=version.summary or "Files taken in",
        who="you" if version.created_by == actor.id else "the studio",
        when=when.relative,
        when_exact=when.exact,
        clips=formats.count(version.n_clips),
        audio=formats.hours(version.duration_s),
        content_hash=version.content_hash[:10],
        is_present=version.number == present,
    )


def difference_row(item: ClipDifference) -> DifferenceRow:
    """Format how a clip differs. That it is used or not is told by its kind."""
    shown = [name for name in _FIELDS if name in item.before]
    rows = [FieldRow(_FIELDS[name], pieces_of(item.before, item.after, name)) for name in shown]
    return DifferenceRow(item.clip_id, item.filename, item.kind, rows)


def pieces_of(before: Mapping[str, str | None], after: Mapping[str, str | None], name: str) -> list[Piece]:
    """Compare a field: words by words, anything else as a whole."""
    was, is_now = before.get(name) or "", after.get(name) or ""
    if name != "text":
        cut = 12 if name == "sha256" else None
        return [Piece(text[:cut], kind) for text, kind in ((was, "gone"), (is_now, "new")) if text]
    return word_pieces(was, is_now)


def word_pieces(was: str, is_now: str) -> list[Piece]:
    """What became of each word; case and punctuation count, since models learn them."""
    old, new = was.split(), is_now.split()
    pieces: list[Piece] = []
    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece(" ".join(old[i1:i2]), "same"))
            continue
        if i2 > i1:
            pieces.append(Piece(" ".join(old[i1:i2]), "gone"))
        if j2 > j1:
            pieces.append(Piece(" ".join(new[j1:j2]), "new"))
    return pieces


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() and 0 < int(text[:12]) <= _MAX_NUMBER else 0


def _page(actor: User, dataset_id: str, page: int, page_size: int) -> tuple[list[VersionRow], int, int]:
    with engine.read() as session:
        found, total = versions.list_versions(
            session, actor=actor, dataset_id=dataset_id, page=page, page_size=page_size
        )
        newest, _ = versions.list_versions(session, actor=actor, dataset_id=dataset_id, page_size=1)
    present = newest[0].number if newest else 0
    return [version_row(version, actor=actor, present=present) for version in found], total, present


def _comparison(actor: User, dataset_id: str, asked: dict[str, Any]) -> Comparison:
    with engine.read() as session:
        return versions.compare(session, actor=actor, dataset_id=dataset_id, **asked)


def _restore(actor: User, dataset_id: str, number: int) -> int:
    with engine.write() as session:
        return versions.restore(session, actor=actor, dataset_id=dataset_id, number=number).version
