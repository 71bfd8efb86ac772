"""The takes of the page *Studio*: found, heard, rated, and the way to the next training."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, icon_button, link_button
from qlora_studio.components.details import tabs, time_text
from qlora_studio.components.dialogs import delete_row_dialog
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.forms import search_input, select_input, text_input
from qlora_studio.components.navigation import sections
from qlora_studio.components.status import badge, progress_bar, status_badge
from qlora_studio.components.surfaces import card, notice
from qlora_studio.components.tables import pager
from qlora_studio.components.takes import key_help, take_card
from qlora_studio.pages.studio_compare import compare_dialog
from qlora_studio.state.studio import StudioState
from qlora_studio.state.takes import TakesState

_FEEDBACK = [section.href for section in sections() if section.key == "feedback"]
_SHARING = [("private", "Only you"), ("read", "All may listen"), ("use", "All may rate")]
_RATED = [("no", "Not rated yet"), ("yes", "Rated by you")]
_STATUSES = [("running", "Being made"), ("succeeded", "Made"), ("failed", "Failed")]


def takes_list() -> rx.Component:
    """All takes that match, newest first."""
    state = TakesState
    return rx.fragment(
        rx.cond(state.is_loading, rx.el.div(class_name="h-5 mb-4"), _milestone()),
        tabs(
            [
                ("own", "Your takes", "/studio"),
                ("shared", "Shared with you", "/studio?shelf=shared"),
                ("tests", "From listening tests", "/studio?shelf=tests", state.has_tests),
            ],
            current=state.current_shelf,
        ),
        rx.cond(
            state.current_shelf == "tests",
            rx.el.div(
                notice(
                    "These are heard blind in their tests. Who takes part in one should not listen here first."
                ),
                class_name="mb-4",
            ),
            rx.fragment(),
        ),
        _toolbar(),
        rx.cond(
            state.is_loading,
            rx.el.div(
                skeleton("h-44 w-full"), skeleton("h-44 w-full mt-4"), role="status", aria_label="Loading"
            ),
            rx.cond(
                state.rows.length() > 0,
                rx.el.div(
                    rx.foreach(state.rows, _generation),
                    rx.el.div(
                        pager(state), class_name="bg-card border border-border rounded-[10px] empty:hidden"
                    ),
                    class_name="flex flex-col gap-4",
                ),
                card(_nothing()),
            ),
        ),
        delete_row_dialog(state, "generation", body="Its takes and their ratings are deleted with it."),
        compare_dialog(),
    )


def _milestone() -> rx.Component:
    state = TakesState
    ready = [link_button("Go to feedback", href=href, size="sm", variant="primary") for href in _FEEDBACK]
    return rx.el.div(
        rx.el.span(state.readiness, class_name="text-[13px] tabular shrink-0"),
        progress_bar(state.readiness_percent, label="Good takes for the next training"),
        rx.cond(
            state.is_ready,
            rx.el.span(
                badge("Enough to train on", icon="circle-check", tone="success"),
                *ready,
                class_name="flex items-center gap-2 shrink-0",
            ),
            rx.fragment(),
        ),
        class_name="flex items-center gap-4 mb-4",
    )


def _toolbar() -> rx.Component:
    state = TakesState
    return rx.el.div(
        rx.el.div(
            rx.cond(state.current_shelf == "shared", rx.fragment(), _filters()),
            button(
                "Favourites",
                icon="heart",
                aria_pressed=state.filters.get("favorite", "") == "yes",
                on_click=state.filter_by(
                    "favorite", rx.cond(state.filters.get("favorite", "") == "yes", "", "yes")
                ),
                class_name="aria-pressed:!border-primary aria-pressed:!bg-primary-soft",
            ),
            rx.cond(
                state.filters.get("like", "") != "",
                button("Of one text", icon="x", on_click=state.filter_by("like", "")),
                rx.fragment(),
            ),
            class_name="grid grid-cols-2 sm:flex sm:flex-wrap sm:items-center gap-2",
        ),
        rx.el.div(
            rx.cond(StudioState.may_rate, _rating_tools(), rx.fragment()),
            rx.el.div(key_help(), class_name="ml-auto"),
            class_name="flex flex-wrap items-center gap-2",
        ),
        class_name="flex flex-col gap-2 mb-4",
    )


def _filters() -> rx.Component:
    state = TakesState
    return rx.fragment(
        search_input(
            "Search texts",
            value=state.query,
            on_change=state.search,
            placeholder="Search texts",
            class_name="sm:!w-56 col-span-2",
        ),
        _filter("status", "All statuses", _STATUSES),
        _filter("rated", "Rated or not", _RATED),
        rx.cond(state.tags.length() > 0, _filter("tag", "All tags", state.tags), rx.fragment()),
        _filter("model_id", "All models", StudioState.models),
        rx.cond(
            StudioState.every_adapter.length() > 0,
            _filter("adapter_id", "All adapters", StudioState.every_adapter),
            rx.fragment(),
        ),
    )


def _rating_tools() -> rx.Component:
    state = TakesState
    return rx.fragment(
        rx.el.label(
            rx.el.span("Rate by", class_name="text-xs text-muted-foreground whitespace-nowrap"),
            select_input(
                name="criterion",
                options=state.criterion_options,
                value=state.criterion,
                on_change=state.rate_by,
                aria_label="Rate by",
            ),
            class_name="flex items-center gap-2",
        ),
        rx.el.form(
            text_input(
                name="own-criterion",
                placeholder="Own criterion",
                aria_label="Rate by a criterion of your own",
                max_length=32,
            ),
            on_submit=state.submit_criterion,
            reset_on_submit=True,
            class_name="w-36",
        ),
        rx.el.label(
            rx.el.input(
                type="checkbox",
                id="go-on",
                default_checked=True,
                class_name="h-4 w-4 accent-[var(--primary)]",
            ),
            "Go on by itself",
            title="After a number key the next take is played",
            class_name="flex items-center gap-2 text-[13px] cursor-pointer whitespace-nowrap",
        ),
    )


def _filter(name: str, every: str, options: Any) -> rx.Component:
    state = TakesState
    return select_input(
        name=f"filter-{name}",
        options=options,
        value=state.filters.get(name, ""),
        on_change=lambda value: state.filter_by(name, value),
        first=rx.el.option(every, value=""),
        aria_label=every,
        class_name="sm:max-w-44 truncate",
    )


def _nothing() -> rx.Component:
    return rx.cond(
        TakesState.is_narrowed,
        empty_state(
            TakesState.nothing[0],
            TakesState.nothing[1],
            button("Clear search and filters", on_click=TakesState.clear_filters),
            icon="search-x",
        ),
        rx.cond(
            TakesState.current_shelf == "shared",
            empty_state(
                "Nothing is shared with you", "Takes that others share for listening or rating appear here."
            ),
            empty_state(
                "No takes yet", "Describe a sound and generate; its takes appear here.", icon="audio-lines"
            ),
        ),
    )


def _generation(row: Any) -> rx.Component:
    state = TakesState
    return card(
        rx.el.div(
            rx.cond(row.side != "", badge(row.side, tone="info"), rx.fragment()),
            rx.el.div(
                rx.el.h2(row.name, class_name="text-[15px] font-semibold break-words line-clamp-2"),
                rx.el.p(
                    row.made_by,
                    " · ",
                    row.detail,
                    " · ",
                    time_text(row.created, row.created_exact),
                    class_name="text-xs text-muted-foreground mt-0.5 break-words",
                ),
                class_name="min-w-0 flex-1 basis-3/4 sm:basis-0",
            ),
            rx.cond(row.status == "succeeded", rx.fragment(), status_badge(row.status)),
            rx.cond(row.is_own & StudioState.may_make, _sharing(row), rx.fragment()),
            rx.cond(
                row.is_own
                & (row.has_adapter | (StudioState.every_adapter.length() > 0))
                & ~row.is_under_way
                & StudioState.may_make,
                button(
                    "Compare",
                    icon="git-compare",
                    size="sm",
                    aria_label=rx.Var.create("Compare takes of ") + row.name,
                    on_click=state.ask_compare(row.id),
                ),
                rx.fragment(),
            ),
            rx.cond(
                StudioState.may_make,
                icon_button(
                    "repeat-2",
                    rx.Var.create("Use the text again: ") + row.name,
                    on_click=StudioState.write(row.name),
                ),
                rx.fragment(),
            ),
            rx.cond(
                row.is_own & ~row.is_under_way & StudioState.may_make,
                icon_button(
                    "trash-2", rx.Var.create("Delete takes of ") + row.name, on_click=state.ask_delete(row.id)
                ),
                rx.fragment(),
            ),
            class_name="flex flex-wrap sm:flex-nowrap items-start gap-2",
        ),
        rx.cond(row.is_under_way, _under_way(row), rx.fragment()),
        rx.cond(
            row.error != "",
            rx.el.div(notice(row.error, tone="danger", icon="circle-alert"), class_name="mt-3"),
            rx.fragment(),
        ),
        rx.el.div(
            rx.foreach(row.takes, lambda take: take_card(take, state, about=row.name, may_rate=row.may_rate)),
            class_name="grid grid-cols-1 xl:grid-cols-2 gap-3 mt-3 empty:hidden",
        ),
    )


def _sharing(row: Any) -> rx.Component:
    return select_input(
        name=rx.Var.create("sharing-") + row.id,
        options=_SHARING,
        value=row.sharing,
        on_change=lambda value: TakesState.share(row.id, value),
        aria_label=rx.Var.create("Who may hear takes of ") + row.name,
        class_name="!h-8 !text-[13px] max-sm:max-w-[104px] max-sm:!pl-2.5 max-sm:!pr-7 truncate",
    )


def _under_way(row: Any) -> rx.Component:
    bars = [
        rx.el.span(
            class_name="wave-bar w-1 rounded-full bg-primary",
            style={"height": f"{height}px", "animationDelay": f"{i * 90}ms"},
        )
        for i, height in enumerate((10, 18, 26, 16, 22, 12, 24, 14))
    ]
    return rx.el.div(
        rx.el.div(*bars, aria_hidden="true", class_name="flex items-center gap-1 h-7"),
        rx.el.div(
            rx.el.p(row.progress, role="status", class_name="text-[13px] text-muted-foreground mb-1.5"),
            progress_bar(row.percent, label=row.progress, active=True),
            class_name="flex-1 min-w-0",
        ),
        rx.cond(
            StudioState.may_make,
            button("Cancel", size="sm", on_click=TakesState.cancel(row.id)),
            rx.fragment(),
        ),
        class_name="flex items-center gap-4 mt-3",
    )
