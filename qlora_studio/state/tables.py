"""What every searchable list shares: its address is the one place that holds search, filters, sort and page.

A list's state mixes in `TableState`, sets `_path`, and loads its page from `on_load`:

    class DatasetsState(TableState, rx.State):
        _path: ClassVar[str] = "/datasets"
        rows: list[DatasetRow] = []

        @rx.event
        @authorized()
        async def load(self, actor: User):
            self._read_address()    # query, sort, page, page_size, filters
            self.rows, self.total = await asyncio.to_thread(_page, actor, self._wanted())

The handlers here only change the address; the framework then calls `load` again. So a link can be shared, and
Back works.
"""

from enum import StrEnum
from typing import Any, ClassVar
from urllib.parse import urlencode

import reflex as rx

from qlora_studio.services.access import Shelf
from qlora_studio.state.auth import authorized

PAGE_SIZES = ("10", "25", "50", "100")


class TableState(rx.State, mixin=True):
    """Search, filters, sort and paging of one list. `sort` is a column, `-` before it: descending."""

    _path: ClassVar[str] = "/"
    _filter_names: ClassVar[tuple[str, ...]] = ("status", "task")
    _first_sort: ClassVar[str] = "-created_at"
    _has_shelf: ClassVar[bool] = False  # what others share, beside one's own

    shelf: str = "mine"
    query: str = ""
    sort: str = ""
    page: int = 1
    page_size: int = 25
    total: int = 0
    filters: dict[str, str] = {}
    is_loading: bool = True
    load_error: str = ""

    @rx.var
    def n_pages(self) -> int:
        """How many pages there are, at least 1."""
        return max(1, -(-self.total // self.page_size))

    @rx.var
    def range_text(self) -> str:
        """`26 to 50 of 1,204`."""
        if not self.total:
            return "0"
        first = (self.page - 1) * self.page_size + 1
        return f"{first:,} to {min(self.total, self.page * self.page_size):,} of {self.total:,}"

    @rx.var
    def is_filtered(self) -> bool:
        """Whether a search or a filter hides rows."""
        return bool(self.query or any(self.filters.values()))

    def _read_address(self) -> None:
        """Take search, filters, sort and page from the address; what is odd there gets its default."""
        given = dict(self.router.url.query_parameters)
        self.query = given.get("query", "")[:200]
        self.sort = given.get("sort", "")[:40]
        self.page = _whole(given.get("page"), 1, 1, 1_000_000)
        self.page_size = _whole(given.get("page_size"), 25, 1, 100)
        self.shelf = "shared" if self._has_shelf and given.get("shelf") == "shared" else "mine"
        self.filters = {name: given[name][:80] for name in self._filter_names if given.get(name)}

    def _wanted(self) -> dict[str, Any]:
        """What a service's `list_…` is asked for; `parsed` makes enums of the filters."""
        return {
            **dict.fromkeys(self._filter_names),
            **self.filters,
            "query": self.query,
            "sort": self.sort or self._first_sort,
            "page": self.page,
            "page_size": self.page_size,
            **({"shelf": Shelf(self.shelf)} if self._has_shelf else {}),
        }

    def _address(self, **changes: Any) -> str:
        kept: dict[str, Any] = {
            "shelf": self.shelf,
            "query": self.query,
            **self.filters,
            "sort": self.sort,
            "page": self.page,
            "page_size": self.page_size,
        }
        kept |= changes
        defaults = {"shelf": "mine", "page": 1, "page_size": 25}
        wanted = {k: v for k, v in kept.items() if v not in ("", None) and v != defaults.get(k)}
        return self._path + (f"?{urlencode(wanted)}" if wanted else "")

    def _go(self, *, replace: bool = True, **changes: Any) -> Any:
        """Change the address. The state follows at once: a second quick change builds on the first."""
        for name, value in changes.items():
            if name in self._filter_names:
                self.filters = {**self.filters, name: str(value)}
            else:
                setattr(self, name, value)
        return rx.redirect(self._address(), replace=replace)

    @rx.event
    @authorized()
    async def search(self, text: str):
        """Look for `text`; back to the first page."""
        return self._go(query=text.strip()[:200], page=1)

    @rx.event
    @authorized()
    async def filter_by(self, name: str, value: str):
        """Set or (with an empty value) drop a filter."""
        if name in self._filter_names:
            return self._go(**{name: value[:80], "page": 1})
        return None

    @rx.event
    @authorized()
    async def clear_filters(self):
        """Show all rows again."""
        return self._go(query="", page=1, **dict.fromkeys(self._filter_names, ""))

    @rx.event
    @authorized()
    async def sort_by(self, column: str):
        """Sort by a column; a second time turns the order round."""
        return self._go(sort=f"-{column[:40]}" if self.sort == column else column[:40], page=1)

    @rx.event
    @authorized()
    async def go_to_page(self, page: int):
        """Show another page."""
        return self._go(page=min(max(1, page), self.n_pages), replace=False)

    @rx.event
    @authorized()
    async def set_page_size(self, size: str):
        """Show 10, 25, 50 or 100 rows at once."""
        return self._go(page_size=_whole(size, 25, 1, 100), page=1)


class SelectionState(rx.State, mixin=True):
    """A list some of whose rows are ticked; they stay so on other pages of it."""

    _max_selected: ClassVar[int] = 100

    selected: list[str] = []

    @rx.event
    @authorized()
    async def select_row(self, row_id: str, is_ticked: bool):
        """Tick a row, or no longer."""
        others = [one for one in self.selected if one != row_id]
        if is_ticked and len(others) >= self._max_selected:
            return rx.toast.info(f"{self._max_selected} at most. Clear one of them first.")
        self.selected = [*others, row_id[:40]] if is_ticked else others
        return None

    @rx.event
    @authorized()
    async def clear_selection(self):
        """Tick no row."""
        self.selected = []


def parsed(wanted: dict[str, Any], **kinds: type[StrEnum]) -> dict[str, Any]:
    """Return `wanted` with these filters as members of their enums; an odd word filters nothing."""
    return wanted | {name: _member(kind, wanted[name]) for name, kind in kinds.items()}


def _member(kind: type[StrEnum], word: str | None) -> StrEnum | None:
    return kind(word) if word in set(kind) else None


def _whole(text: str | None, default: int, low: int, high: int) -> int:
    try:
        return min(max(int(text or default), low), high)
    except ValueError:
        return default
