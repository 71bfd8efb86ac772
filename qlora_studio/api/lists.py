"""What every list of the API takes and answers."""

from collections.abc import Sequence
from typing import Annotated, Generic, Self, TypeVar

from pydantic import BaseModel, Field

Item = TypeVar("Item")


class Filter(BaseModel):
    """Which things, in which order, which page."""

    query: Annotated[str, Field(max_length=200)] = ""
    sort: Annotated[str, Field(max_length=40)] = "-created_at"
    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 25


class Paging(BaseModel):
    """Which page."""

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=100)] = 25


class Page(BaseModel, Generic[Item]):
    """One page of them, and how many there are in all."""

    items: list[Item]
    total: int
    page: int
    page_size: int

    @classmethod
    def of(cls, items: Sequence[Item], total: int, wanted: Filter) -> Self:
        """Return the page that was asked for."""
        return cls(items=list(items), total=total, page=wanted.page, page_size=wanted.page_size)
