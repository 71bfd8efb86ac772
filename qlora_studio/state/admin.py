"""Administration: everybody's accounts, and who did what. Every handler is for admins."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

import reflex as rx
from pydantic import ValidationError
from typing_extensions import TypedDict

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import InvalidInput
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.models import AuditEvent, User
from qlora_studio.services import audit, people
from qlora_studio.services.audit import AuditFilter
from qlora_studio.services.people import Person, UserUpdate
from qlora_studio.state import formats
from qlora_studio.state.auth import authorized
from qlora_studio.state.dialogs import DialogState
from qlora_studio.state.tables import TableState, parsed

_GB = 10**9
_LIMITS = "Give a number, 0 or more, or leave it empty for the limit of all."


class LimitFields(TypedDict, total=False):
    """What the form of limits sends; an empty one is that of the settings."""

    gigabytes: str | None
    jobs: str | None


@dataclass(frozen=True)
class PersonRow:
    """An account in the list. `keeps` is what counts towards its limit, `things` what it owns."""

    id: str
    username: str
    detail: str
    role: str
    is_disabled: bool
    is_self: bool
    seen: str
    seen_exact: str
    keeps: str
    of_limit: str
    percent: int
    jobs: str
    things: str
    uses: list[str]
    own_gigabytes: str
    own_jobs: str


@dataclass(frozen=True)
class AuditRow:
    """A line of the log."""

    id: str
    at: str
    at_exact: str
    who: str
    action: str
    thing: str
    kind: str
    details: str


class PeopleState(DialogState, TableState, rx.State):
    """The list of accounts. Dialogs: `limits`, `link`, `delete` and `disable`."""

    _path: ClassVar[str] = "/admin"
    _filter_names: ClassVar[tuple[str, ...]] = ("role", "state")
    _first_sort: ClassVar[str] = "username"

    rows: list[PersonRow] = []
    chosen_id: str = ""
    chosen_name: str = ""
    chosen_things: list[str] = []
    own_gigabytes: str = ""
    own_jobs: str = ""
    heirs: list[list[str]] = []
    heir_id: str = ""
    link: str = ""
    is_sending: bool = False
    default_limits: str = ""
    field_errors: dict[str, str] = {}

    @rx.event
    @authorized(Role.ADMIN)
    async def load(self, actor: User):
        """Show the page of the list that the address names."""
        self._read_address()
        self.dialog, self.link, self.is_sending = "", "", False
        settings = get_settings()
        limits = (
            formats.size(settings.max_bytes_per_user),
            formats.count(settings.max_queued_jobs, "queued job"),
        )
        self.default_limits = f"Without limits of its own an account has {limits[0]} and {limits[1]}."
        try:
            await self._fill(actor)
            self.load_error = ""
        except InvalidInput as error:
            self.load_error = error.message
        self.is_loading = False

    @rx.event
    @authorized(Role.ADMIN)
    async def set_role(self, actor: User, user_id: str, role: str):
        """Give an account another role; it counts with its next click."""
        try:
            await asyncio.to_thread(_update, actor, user_id, {"role": role})
        finally:
            await self._fill(actor)

    @rx.event
    @authorized(Role.ADMIN)
    async def ask(self, actor: User, name: str, user_id: str):
        """Open a dialog about an account."""
        row = next((row for row in self.rows if row.id == user_id), None)
        if row is None or name not in ("limits", "delete", "disable", "link"):
            return
        self.chosen_id, self.chosen_name, self.field_errors = row.id, row.username, {}
        self.own_gigabytes, self.own_jobs, self.chosen_things = row.own_gigabytes, row.own_jobs, row.uses
        if name == "delete":
            self.heirs = await asyncio.to_thread(_heirs, actor, user_id)
            self.heir_id = actor.id
        if name == "link":
            self.link = await asyncio.to_thread(_link, actor, user_id)
        self.dialog = name

    @rx.event
    @authorized(Role.ADMIN)
    async def close(self):
        """Close whichever dialog is open, and forget the link that it may have shown."""
        self.dialog, self.link = "", ""

    @rx.event
    @authorized(Role.ADMIN)
    async def choose_heir(self, user_id: str):
        """Who gets what the account owns."""
        self.heir_id = user_id

    @rx.event
    @authorized(Role.ADMIN)
    async def save_limits(self, actor: User, form: LimitFields):
        """Set an account's own limits."""
        self.field_errors = {}
        changes = _limits(form)
        await asyncio.to_thread(_update, actor, self.chosen_id, changes)
        self.dialog = ""
        await self._fill(actor)
        return rx.toast.success(f"The limits of {self.chosen_name} are set")

    @rx.event
    @authorized(Role.ADMIN)
    async def disable(self, actor: User):
        """Lock the account out that the dialog names."""
        self.dialog = ""
        await asyncio.to_thread(_update, actor, self.chosen_id, {"is_disabled": True})
        await self._fill(actor)
        return rx.toast.success(f"{self.chosen_name} is disabled and signed out")

    @rx.event
    @authorized(Role.ADMIN)
    async def enable(self, actor: User, user_id: str):
        """Let an account in again."""
        await asyncio.to_thread(_update, actor, user_id, {"is_disabled": False})
        await self._fill(actor)
        return rx.toast.success("The account is enabled")

    @rx.event
    @authorized(Role.ADMIN)
    async def delete(self, actor: User):
        """Delete the account that the dialog names; what it owns goes to whom it names."""
        if self.dialog != "delete":
            return
        self.is_sending = True
        yield
        try:
            heir_id = self.heir_id if self.chosen_things else ""
            await asyncio.to_thread(_delete, actor, self.chosen_id, heir_id)
        finally:
            self.is_sending, self.dialog = False, ""
        await self._fill(actor)
        yield rx.toast.success(f"{self.chosen_name} is deleted")

    async def _fill(self, actor: User) -> None:
        self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())


class AuditState(TableState, rx.State):
    """The audit log. Its filters stand in the address, as those of every list do."""

    _path: ClassVar[str] = "/admin/audit"
    _filter_names: ClassVar[tuple[str, ...]] = ("who", "action", "object", "since", "until")

    rows: list[AuditRow] = []
    actions: list[list[str]] = []
    objects: list[list[str]] = []

    @rx.var
    def csv_href(self) -> str:
        """Where all lines that match are as CSV."""
        wanted = _asked(self.filters, self.query).model_dump(mode="json", exclude_none=True)
        given = {name: value for name, value in wanted.items() if value}
        return "/api/v1/audit.csv" + (f"?{urlencode(given)}" if given else "")

    @rx.event
    @authorized(Role.ADMIN)
    async def load(self, actor: User):
        """Show the lines that the address asks for."""
        self._read_address()
        wanted = _asked(self.filters, self.query)
        found, self.total, actions, objects = await asyncio.to_thread(
            _lines, actor, wanted, self.page, self.page_size
        )
        self.rows = found
        kinds = sorted({action.partition(".")[0] for action in actions})
        self.actions = [
            *([kind, f"{_words(kind)}: all"] for kind in kinds),
            *([a, _words(a)] for a in actions),
        ]
        self.objects = [[name, _words(name)] for name in objects]
        self.is_loading = False


def person_row(person: Person, actor: User) -> PersonRow:
    """Return an account as the list shows it."""
    user, seen = person.user, formats.when(person.last_seen_at)
    sizes = [f"{kind}s {formats.size(n)}" for kind, n in person.belongings.n_bytes.items()]
    return PersonRow(
        id=user.id,
        username=user.username,
        detail=f"{user.name}, {user.email}" if user.name else user.email,
        role=user.role.value,
        is_disabled=user.disabled_at is not None,
        is_self=user.id == actor.id,
        seen=seen.relative if person.last_seen_at else "Not signed in",
        seen_exact=seen.exact if person.last_seen_at else "",
        keeps=formats.size(person.held_bytes),
        of_limit=f"of {formats.size(person.limit_bytes)}",
        percent=min(100, round(100 * person.held_bytes / person.limit_bytes)) if person.limit_bytes else 100,
        jobs=f"{person.n_queued:,} of {person.limit_jobs:,}",
        things=", ".join(sizes) or "Nothing on the disk",
        uses=person.belongings.names(),
        own_gigabytes="" if user.max_bytes is None else f"{user.max_bytes / _GB:g}",
        own_jobs="" if user.max_queued_jobs is None else str(user.max_queued_jobs),
    )


def audit_row(event: AuditEvent) -> AuditRow:
    """Return a line of the log as the page shows it."""
    at = formats.when(event.at)
    said = [f"{_words(key)} {value}" for key, value in event.details.items() if value != ""]
    return AuditRow(
        id=str(event.id),
        at=at.relative,
        at_exact=at.exact,
        who=event.actor_name or "the studio",
        action=event.action,
        thing=event.object_name or event.object_id,
        kind=_words(event.object_type),
        details=", ".join([*([f"{event.n:,} times that day"] if event.n > 1 else []), *said]),
    )


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", ", ")


def _asked(filters: dict[str, str], query: str) -> AuditFilter:
    """The filter that the address means; a day that is none filters nothing. Days are of UTC."""
    since, until = _day(filters.get("since")), _day(filters.get("until"))
    return AuditFilter(
        query=query,
        who=filters.get("who", "")[:64],
        action=filters.get("action", "")[:64],
        object=filters.get("object", "")[:64],
        since=since,
        until=until + timedelta(days=1) if until is not None else None,
    )


def _day(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _limits(form: LimitFields) -> dict[str, Any]:
    errors: dict[str, str] = {}
    found: dict[str, Any] = {}
    for name, field, factor in (("gigabytes", "max_bytes", _GB), ("jobs", "max_queued_jobs", 1)):
        text = (form.get(name) or "").strip()
        try:
            found[field] = round(float(text) * factor) if text else None
            UserUpdate.model_validate({field: found[field]})
        except (ValueError, OverflowError, ValidationError):
            errors[name] = _LIMITS
    if errors:
        raise InvalidInput(_LIMITS, fields=errors)
    return found


def _page(actor: User, wanted: dict[str, Any]) -> tuple[list[PersonRow], int]:
    wanted = parsed(wanted, role=Role)
    wanted["disabled"] = {"disabled": True, "active": False}.get(wanted.pop("state") or "")
    with db.read() as session:
        found, total = people.list_people(session, actor=actor, **wanted)
    return [person_row(person, actor) for person in found], total


def _heirs(actor: User, user_id: str) -> list[list[str]]:
    with db.read() as session:
        found, _ = people.list_people(session, actor=actor, disabled=False, page_size=500)
    return [[one.user.id, one.user.username] for one in found if one.user.id != user_id]


def _update(actor: User, user_id: str, changes: dict[str, Any]) -> None:
    with db.write() as session:
        form = UserUpdate.model_validate(changes)
        people.update(session, actor=actor, user_id=user_id, form=form)


def _link(actor: User, user_id: str) -> str:
    with db.write() as session:
        found = people.make_reset_link(session, actor=actor, user_id=user_id)
    return get_settings().base_url + found.path


def _delete(actor: User, user_id: str, heir_id: str) -> None:
    with db.write() as session:
        people.delete_user(session, actor=actor, user_id=user_id, heir_id=heir_id)


def _lines(
    actor: User, wanted: AuditFilter, page: int, page_size: int
) -> tuple[list[AuditRow], int, list[str], list[str]]:
    with db.read() as session:
        found, total = audit.list_events(session, actor=actor, wanted=wanted, page=page, page_size=page_size)
        return [audit_row(event) for event in found], total, *audit.list_choices(session, actor=actor)
