"""Everybody's accounts, and who did what: for admins."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from qlora_studio.api.files import sends
from qlora_studio.api.lists import Page
from qlora_studio.api.security import AdminBySession, CurrentAdmin
from qlora_studio.contracts.enums import Role
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.services import audit, people
from qlora_studio.services.audit import AuditFilter
from qlora_studio.services.people import Person, UserUpdate

router = APIRouter(tags=["Administration"])


class PersonPublic(BaseModel):
    """An account. `max_bytes` and `max_queued_jobs` are its own limits, null: those of the settings.

    `held_bytes` count towards `limit_bytes`; `things` and `bytes` are what it owns, by kind.
    """

    id: str
    username: str
    name: str
    email: str
    role: Role
    is_disabled: bool
    created_at: datetime
    last_seen_at: datetime | None
    max_bytes: int | None
    held_bytes: int
    limit_bytes: int
    max_queued_jobs: int | None
    n_queued: int
    limit_jobs: int
    things: dict[str, int]
    bytes: dict[str, int]

    @classmethod
    def of(cls, person: Person) -> "PersonPublic":
        """Return the public form of an account."""
        user = person.user
        same = ("id", "username", "name", "email", "role", "created_at", "max_bytes", "max_queued_jobs")
        counted = ("last_seen_at", "held_bytes", "limit_bytes", "n_queued", "limit_jobs")
        return cls(
            **{name: getattr(user, name) for name in same},
            **{name: getattr(person, name) for name in counted},
            is_disabled=user.disabled_at is not None,
            things=person.belongings.counts,
            bytes=person.belongings.n_bytes,
        )


class PersonFilter(BaseModel):
    """Which accounts, in which order, which page."""

    query: Annotated[str, Field(max_length=200)] = ""
    role: Role | None = None
    disabled: bool | None = None
    sort: Annotated[str, Field(max_length=40)] = "username"
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 25


class PersonPage(Page[PersonPublic]):
    """One page of accounts."""


class ResetLinkPublic(BaseModel):
    """A link to hand to its person; it is shown this once and works once."""

    url: str
    expires_at: datetime


class AuditLine(BaseModel):
    """Who did what, when, to what; what is done very often `n` times in a day, lastly at `last_at`."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    actor_id: str | None
    actor_name: str
    action: str
    object_type: str
    object_id: str
    object_name: str
    details: dict[str, Any]
    n: int
    last_at: datetime | None


class AuditPage(BaseModel):
    items: list[AuditLine]
    total: int
    page: int
    page_size: int


@router.get("/users")
def list_users(admin: CurrentAdmin, wanted: Annotated[PersonFilter, Query()]) -> PersonPage:
    """Return one page of all accounts, with what each keeps."""
    with db.read() as session:
        found, total = people.list_people(session, actor=admin, **wanted.model_dump())
    items = [PersonPublic.of(person) for person in found]
    return PersonPage(items=items, total=total, page=wanted.page, page_size=wanted.page_size)


@router.get("/users/{user_id}")
def get_user(user_id: str, admin: CurrentAdmin) -> PersonPublic:
    """Return an account."""
    with db.read() as session:
        return PersonPublic.of(people.get_person(session, actor=admin, user_id=user_id))


@router.patch("/users/{user_id}")
def update_user(user_id: str, body: UserUpdate, admin: AdminBySession) -> PersonPublic:
    """Change an account's role or limits, disable or enable it. 409: it is the last admin's."""
    with db.write() as session:
        people.update(session, actor=admin, user_id=user_id, form=body)
        session.flush()
        return PersonPublic.of(people.get_person(session, actor=admin, user_id=user_id))


@router.post("/users/{user_id}/reset-link", status_code=201)
def make_reset_link(user_id: str, admin: AdminBySession) -> ResetLinkPublic:
    """Make a link by which its person sets a new password, once, within a day."""
    with db.write() as session:
        link = people.make_reset_link(session, actor=admin, user_id=user_id)
    return ResetLinkPublic(url=get_settings().base_url + link.path, expires_at=link.expires_at)


@router.delete("/users/{user_id}", status_code=204)
def delete_user(
    user_id: str, admin: AdminBySession, heir_id: Annotated[str, Query(max_length=32)] = ""
) -> Response:
    """Delete an account; what it owns goes to `heir_id`. 409 names what it owns if there is no heir."""
    with db.write() as session:
        people.delete_user(session, actor=admin, user_id=user_id, heir_id=heir_id)
    return Response(status_code=204)


class AuditQuery(BaseModel):
    """Which lines. `action` is a whole one or its beginning (`dataset`), `object` an id or a kind."""

    query: Annotated[str, Field(max_length=200)] = ""
    who: Annotated[str, Field(max_length=64)] = ""
    action: Annotated[str, Field(max_length=64)] = ""
    object: Annotated[str, Field(max_length=64)] = ""
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    def wanted(self) -> AuditFilter:
        """What the service is asked for."""
        return AuditFilter(**{name: getattr(self, name) for name in AuditFilter.model_fields})


class AuditPageQuery(AuditQuery):
    """Which lines, which page of them."""

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 25


@router.get("/audit")
def list_audit(admin: CurrentAdmin, asked: Annotated[AuditPageQuery, Query()]) -> AuditPage:
    """Who did what, newest first."""
    with db.read() as session:
        lines, total = audit.list_events(
            session, actor=admin, wanted=asked.wanted(), page=asked.page, page_size=asked.page_size
        )
        items = [AuditLine.model_validate(line) for line in lines]
    return AuditPage(items=items, total=total, page=asked.page, page_size=asked.page_size)


@router.get("/audit.csv", response_class=StreamingResponse, responses=sends("text/csv"))
def export_audit(admin: CurrentAdmin, asked: Annotated[AuditQuery, Query()]) -> StreamingResponse:
    """The same lines, all of them, as CSV."""
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    pieces = audit.write_csv(actor=admin, wanted=asked.wanted())
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)
