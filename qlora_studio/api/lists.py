"""What every list of the API takes and answers."""

from collections.abc import Sequence
from typing import Annotated, Generic, Protocol, Self, TypeVar

from pydantic import BaseModel, Field
from sqlmodel import Session

from qlora_studio.db.models import User
from qlora_studio.services import access
from qlora_studio.services.access import Shelf


class _HasOwner(Protocol):
    owner_id: str
    owner: str | None


Item = TypeVar("Item")
Owned = TypeVar("Owned", bound=_HasOwner)


class Paging(BaseModel):
    """Which page."""

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 25


class Filter(Paging):
    """Which things, in which order, which page."""

    query: Annotated[str, Field(max_length=200)] = ""
    sort: Annotated[str, Field(max_length=40)] = "-created_at"


class ShelfFilter(Filter):
    """`shelf`: one's own things, those that others share, or both."""

    shelf: Shelf = Shelf.MINE


class Page(BaseModel, Generic[Item]):
    """One page of them, and how many there are in all."""

    items: list[Item]
    total: int
    page: int
    page_size: int

    @classmethod
    def of(cls, items: Sequence[Item], total: int, wanted: Paging) -> Self:
        """Return the page that was asked for."""
        return cls(items=list(items), total=total, page=wanted.page, page_size=wanted.page_size)

    @classmethod
    def cut(cls, items: Sequence[Item], wanted: Paging) -> Self:
        """Return the page that was asked for, of items that are all at hand."""
        start = (wanted.page - 1) * wanted.page_size
        return cls.of(items[start : start + wanted.page_size], len(items), wanted)


def with_owners(session: Session, actor: User, items: Sequence[Owned]) -> list[Owned]:
    """Put in how the owners of other people's things are called."""
    others = {item.owner_id for item in items} - {actor.id}
    names = access.names_of(session, others) if others else {}
    for item in items:
        item.owner = names.get(item.owner_id)
    return list(items)
