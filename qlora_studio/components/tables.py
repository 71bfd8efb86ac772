"""The data table: server-side search, filters as chips, sort, paging; cards under 640 px."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import reflex as rx

from qlora_studio.components.buttons import button, icon_button, page_link
from qlora_studio.components.feedback import loading_switch, skeleton_rows
from qlora_studio.components.forms import search_input, select_input
from qlora_studio.state.tables import PAGE_SIZES


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        label: its heading, also shown beside the value on narrow screens.
        cell: makes the cell's content from a row Var.
        sort: the name that `sort_by` gets; None if it cannot be sorted.
        align: text left, numbers right.
        shown_if: a bool Var; without it the column is always there.
        gives_way: its text is cut before the table scrolls; `width` says its share and the least it needs.
        extra_below: left out in windows narrower than this (Tailwind's name), though not where rows are cards.
    """

    label: str
    cell: Callable[[Any], Any]
    sort: str | None = None
    align: Literal["left", "right"] = "left"
    width: str = ""
    shown_if: Any = None
    gives_way: bool = False
    extra_below: Literal["", "lg", "xl"] = ""


Options = Sequence[tuple[str, str]] | rx.Var[list[list[str]]]
Filter = tuple[str, str, Options]


def data_table(
    state: Any,
    *,
    rows: Any,
    columns: Sequence[Column],
    empty: rx.Component,
    label: str,
    row_key: Callable[[Any], Any] = lambda row: row.id,
    row_menu: Callable[[Any], Any] | None = None,
    filters: Sequence[Filter] = (),
    search_placeholder: str | None = "Search",
    actions: Any = None,
    on_retry: Any = None,
    details: tuple[Any, Callable[[Any], Any]] | None = None,
    selection: Any = None,
    cards: tuple[Any, Callable[[Any], Any]] | None = None,
) -> rx.Component:
    """A searchable list over a state that mixes in `TableState`.

    Args:
        state: the state class; its `rows` are given separately so that their type is known.
        empty: what is shown when there is nothing at all (not when a filter hides everything).
        label: the table's name for screen readers.
        row_menu: makes the menu of a row, see `row_menu`.
        filters: (name, label, options) with options as (value, label) pairs, or a Var of such lists; a filter
            whose Var is empty isn't shown.
        search_placeholder: None for a list without search and filters.
        details: a Var that holds the key of the row whose details are open, and what makes them.
        selection: what can be done with ticked rows; the state then mixes in `SelectionState`, and the rows
            have an `id` and a `name`.
        cards: a bool Var that says to show cards instead of a table, and what makes one of a row.
    """
    is_selectable = selection is not None
    full = rx.el.div(
        rx.el.table(
            rx.el.thead(
                rx.el.tr(
                    *([_select_heading()] if is_selectable else []),
                    *(_heading(state, c) for c in columns),
                    *([_menu_heading()] if row_menu else []),
                )
            ),
            rx.el.tbody(
                rx.foreach(
                    rows,
                    lambda row: _row(
                        row,
                        columns,
                        row_key,
                        row_menu,
                        details,
                        selecting=state if is_selectable else None,
                    ),
                ),
                class_name="divide-y divide-border",
            ),
            aria_label=label,
            class_name="data-table w-full border-collapse text-[13px]",
        ),
        class_name="overflow-x-auto",
    )
    if cards is not None:
        as_cards, make_card = cards
        full = rx.cond(as_cards, _cards(rows, make_card, label), full)
    nothing_found = rx.el.div(
        rx.icon("search-x", size=24, class_name="text-muted-foreground", aria_hidden="true"),
        rx.el.p("Nothing matches.", class_name="font-medium mt-3"),
        button("Clear search and filters", size="sm", on_click=state.clear_filters, class_name="mt-3"),
        class_name="flex flex-col items-center py-14",
    )
    body = loading_switch(
        is_loading=state.is_loading & (rows.length() == 0),
        error=state.load_error,
        is_empty=rows.length() == 0,
        loading=skeleton_rows(),
        empty=rx.cond(state.is_filtered, nothing_found, empty),
        full=full,
        on_retry=on_retry,
    )
    has_toolbar = search_placeholder is not None
    return rx.el.section(
        *([_toolbar(state, label, filters, search_placeholder, actions)] if has_toolbar else []),
        *([_selection_bar(state, selection)] if is_selectable else []),
        body,
        pager(state),
        class_name="bg-card border border-border rounded-[10px] shadow-card overflow-hidden",
    )


def _cards(rows: Any, make: Callable[[Any], Any], label: str) -> rx.Component:
    return rx.el.ul(
        rx.foreach(rows, lambda row: rx.el.li(make(row), key=row.id, class_name="min-w-0")),
        aria_label=label,
        class_name="list-none m-0 p-3 grid grid-cols-1 md:grid-cols-2 xl:grid-cols-3 gap-3",
    )


def _heading(state: Any, column: Column) -> rx.Component:
    side = "text-right" if column.align == "right" else "text-left"
    base = f"sticky top-0 bg-card border-b border-border px-4 h-10 font-medium text-muted-foreground whitespace-nowrap {side} {column.width} {_extra(column)}"
    if column.sort is None:
        return _if_shown(column, rx.el.th(column.label, scope="col", class_name=base))
    up, down = state.sort == column.sort, state.sort == f"-{column.sort}"
    arrow = rx.cond(
        up,
        rx.icon("arrow-up", size=13, aria_hidden="true"),
        rx.cond(
            down,
            rx.icon("arrow-down", size=13, aria_hidden="true"),
            rx.icon("arrow-up-down", size=13, class_name="opacity-40", aria_hidden="true"),
        ),
    )
    heading = rx.el.th(
        rx.el.button(
            column.label,
            arrow,
            type="button",
            on_click=state.sort_by(column.sort),
            class_name="inline-flex items-center gap-1 font-medium cursor-pointer hover:text-foreground rounded",
        ),
        scope="col",
        aria_sort=rx.cond(up, "ascending", rx.cond(down, "descending", "none")),
        class_name=base,
    )
    return _if_shown(column, heading)


def _if_shown(column: Column, cell: rx.Component) -> rx.Component:
    return cell if column.shown_if is None else rx.cond(column.shown_if, cell, rx.fragment())


def _extra(column: Column) -> str:
    return {"": "", "lg": "max-lg:hidden", "xl": "max-xl:hidden"}[column.extra_below]


def _menu_heading() -> rx.Component:
    return rx.el.th(
        rx.el.span("Actions", class_name="sr-only"),
        scope="col",
        class_name="w-12 border-b border-border sticky top-0 bg-card",
    )


def _select_heading() -> rx.Component:
    return rx.el.th(
        rx.el.span("Choose", class_name="sr-only"),
        scope="col",
        class_name="w-9 border-b border-border sticky top-0 bg-card",
    )


def _select_cell(state: Any, row: Any) -> rx.Component:
    tick = rx.el.input(
        type="checkbox",
        checked=state.selected.contains(row.id),
        on_change=lambda is_ticked: state.select_row(row.id, is_ticked),
        aria_label=rx.Var.create("Choose ") + row.name,
        class_name="h-4 w-4 accent-[var(--primary)] cursor-pointer align-middle",
    )
    return rx.el.td(tick, class_name="row-select pl-4 pr-0")


def _selection_bar(state: Any, actions: rx.Component) -> rx.Component:
    """What can be done with the ticked rows, while there are any."""
    bar = rx.el.div(
        rx.el.span(state.selected.length(), " chosen", role="status", class_name="font-medium tabular"),
        rx.el.div(
            actions,
            button("Clear", size="sm", variant="ghost", on_click=state.clear_selection),
            class_name="flex flex-wrap items-center gap-2",
        ),
        class_name="flex flex-wrap items-center justify-between gap-2 px-4 py-2 border-b border-border bg-primary-soft text-[13px]",
    )
    return rx.cond(state.selected.length() > 0, bar, rx.fragment())


def _row(
    row: Any,
    columns: Sequence[Column],
    row_key: Callable[[Any], Any],
    row_menu: Callable[[Any], Any] | None,
    details: tuple[Any, Callable[[Any], Any]] | None,
    *,
    selecting: Any,
) -> rx.Component:
    cells = [] if selecting is None else [_select_cell(selecting, row)]
    cells += [
        _if_shown(
            column,
            rx.el.td(
                column.cell(row),
                data_label=column.label,
                class_name=f"px-4 h-12 align-middle {_extra(column)} "
                + ("max-w-0 " if column.gives_way else "max-w-[340px] ")
                + ("text-right tabular whitespace-nowrap" if column.align == "right" else "truncate"),
            ),
        )
        for column in columns
    ]
    if row_menu is not None:
        cells.append(rx.el.td(row_menu(row), class_name="row-menu px-2 text-right"))
    key = row_key(row)
    line = rx.el.tr(*cells, key=key, class_name="hover:bg-muted/60 transition-colors duration-100")
    if details is None:
        return line
    opened, make = details
    below = rx.el.tr(rx.el.td(make(row), col_span=len(cells), class_name="row-details p-0"))
    return rx.fragment(line, rx.cond(opened == key, below, rx.fragment()), key=key)


def _toolbar(
    state: Any,
    label: str,
    filters: Sequence[Filter],
    placeholder: str | None,
    actions: Any,
) -> rx.Component:
    search = search_input(
        f"Search {label.lower()}", value=state.query, on_change=state.search, placeholder=placeholder
    )
    selects = [_filter(state, name, text, options) for name, text, options in filters]
    chips = [_chip(state, name, text, options) for name, text, options in filters]
    return rx.el.div(
        rx.el.div(
            search,
            *selects,
            rx.el.div(*([actions] if actions is not None else []), class_name="sm:ml-auto flex gap-2"),
            class_name="flex flex-wrap items-center gap-2",
        ),
        rx.cond(
            state.filters.length() > 0,
            rx.el.div(*chips, class_name="flex flex-wrap gap-2 mt-2"),
            rx.fragment(),
        ),
        class_name="p-3 border-b border-border",
    )


def _filter(state: Any, name: str, text: str, options: Options) -> rx.Component:
    every = rx.el.option(f"All {text.lower()}", value="")
    made = rx.el.div(
        select_input(
            name=f"filter-{name}",
            options=options,
            first=every,
            value=state.filters.get(name, ""),
            on_change=lambda value: state.filter_by(name, value),
            aria_label=f"Filter by {text.lower()}",
            class_name="text-[13px]",
        ),
        class_name="max-w-full sm:max-w-[180px]",
    )
    return rx.cond(options.length() > 0, made, rx.fragment()) if isinstance(options, rx.Var) else made


def _chip(state: Any, name: str, text: str, options: Options) -> rx.Component:
    value = state.filters.get(name, "")
    shown: Any
    if isinstance(options, rx.Var):
        shown = rx.foreach(options, lambda option: rx.cond(option[0] == value, option[1], ""))
    else:
        shown = rx.match(value, *options, value)
    return rx.cond(
        value != "",
        rx.el.button(
            rx.el.span("Remove the filter ", class_name="sr-only"),
            rx.el.span(f"{text}: ", class_name="text-muted-foreground"),
            shown,
            rx.icon("x", size=12, aria_hidden="true"),
            type="button",
            on_click=state.filter_by(name, ""),
            class_name="inline-flex items-center gap-1 rounded-md bg-muted hover:bg-subtle px-2 py-1 text-xs font-medium cursor-pointer",
        ),
        rx.fragment(),
    )


def pager(state: Any) -> rx.Component:
    """Which rows are shown, and the way to the others, over a `TableState`."""
    return rx.cond(
        state.total > 10,
        rx.el.nav(
            rx.el.span(state.range_text, class_name="tabular", role="status"),
            rx.el.div(
                rx.el.div(
                    select_input(
                        name="page-size",
                        options=[(n, f"{n} a page") for n in PAGE_SIZES],
                        value=state.page_size.to_string(),
                        on_change=state.set_page_size,
                        aria_label="Rows on a page",
                        class_name="text-[13px]",
                    ),
                    class_name="hidden sm:block",
                ),
                icon_button(
                    "chevron-left",
                    "Previous page",
                    variant="secondary",
                    disabled=state.page <= 1,
                    on_click=state.go_to_page(state.page - 1),
                ),
                icon_button(
                    "chevron-right",
                    "Next page",
                    variant="secondary",
                    disabled=state.page >= state.n_pages,
                    on_click=state.go_to_page(state.page + 1),
                ),
                class_name="flex items-center gap-2",
            ),
            aria_label="Pages",
            class_name="flex items-center justify-between gap-4 px-4 py-2.5 border-t border-border text-[13px] text-muted-foreground",
        ),
        rx.fragment(),
    )


def row_menu(name: Any, *items: rx.Component) -> rx.Component:
    """The menu at the end of a row. `items` come from `menu_item` and `menu_separator`."""
    return rx.dropdown_menu.root(
        rx.dropdown_menu.trigger(icon_button("ellipsis", rx.Var.create("Actions for ") + name)),
        rx.dropdown_menu.content(*items, align="end", size="1", variant="soft"),
        modal=False,
    )


def menu_item(label: Any, *, icon: str, danger: bool = False, **props: Any) -> rx.Component:
    """One entry of a menu."""
    color = {"color": "red"} if danger else {}
    return rx.dropdown_menu.item(rx.icon(icon, size=14, aria_hidden="true"), label, **color, **props)


def menu_separator() -> rx.Component:
    """A line between groups of entries."""
    return rx.dropdown_menu.separator()


def name_cell(name: Any, *, href: Any, detail: Any = None) -> rx.Component:
    """The first cell of a row: a link to the thing, and a short text under it."""
    return rx.el.div(
        page_link(
            name, href=href, class_name="font-medium hover:underline underline-offset-4 truncate block"
        ),
        *(
            [rx.el.div(detail, class_name="text-xs text-muted-foreground truncate font-normal")]
            if detail is not None
            else []
        ),
        class_name="min-w-0 py-1.5",
    )
