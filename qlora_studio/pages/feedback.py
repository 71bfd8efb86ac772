"""What was rated and compared: datasets made of it, and whether there is enough."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, link_button, text_link
from qlora_studio.components.details import tabs
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.forms import number_field, select_field, text_field
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import progress_bar, status_badge
from qlora_studio.components.surfaces import card, grid, page_header, stat_card
from qlora_studio.pages.feedback_adapters import adapters_tab
from qlora_studio.state.feedback import FeedbackState
from qlora_studio.state.feedback_adapters import FeedbackAdaptersState

_KINDS = [
    ("takes", "Takes rated well"),
    ("votes", "Pairs by votes"),
    ("ratings", "Pairs by ratings"),
]
_TABS = [
    ("datasets", "Datasets", "/feedback"),
    ("adapters", "Adapters", "/feedback?tab=adapters"),
    ("progress", "Progress", "/feedback?tab=progress"),
]


@studio_page(
    "/feedback",
    title="Feedback",
    section="feedback",
    on_load=[FeedbackState.load, FeedbackAdaptersState.load],
)
def feedback() -> rx.Component:
    """Three tabs: datasets from feedback, adapters that came of them, and how far the feedback has come."""
    state = FeedbackState
    return rx.fragment(
        page_header(
            "Feedback",
            "What you rated and compared becomes a dataset to train on.",
            link_button("Compare takes", href="/feedback/pairs", icon="headphones"),
            link_button("Listening tests", href="/listening", icon="users"),
        ),
        tabs(_TABS, current=state.tab),
        rx.cond(
            state.is_loading,
            skeleton("h-64 w-full"),
            rx.match(state.tab, ("adapters", adapters_tab()), ("progress", _progress()), _datasets()),
        ),
    )


def _datasets() -> rx.Component:
    state = FeedbackState
    none = empty_state(
        "No datasets from feedback yet",
        "Rate takes in the studio or compare them blind, then make a dataset of the best.",
        link_button("Rate takes", href="/studio", icon="wand-sparkles"),
    )
    listed = rx.el.ul(rx.foreach(state.made, _made), class_name="list-none m-0 p-0 divide-y divide-border")
    return rx.el.div(
        card(_form(), title="New dataset"),
        rx.cond(state.made.length() > 0, card(listed, title="Made so far"), none),
        class_name="grid grid-cols-1 lg:grid-cols-2 gap-4 items-start",
    )


def _form() -> rx.Component:
    state = FeedbackState
    score = select_field(
        "Score of a take",
        name="over",
        options=[("mean", "Mean of its ratings"), ("median", "Median of its ratings")],
        value=state.over,
        on_change=lambda value: state.choose("over", value),
    )
    criterion = text_field(
        "Criterion",
        name="criterion",
        optional=True,
        default_value=state.criterion,
        on_change=lambda value: state.choose("criterion", value).debounce(300),
    )
    return rx.el.div(
        select_field(
            "Made of",
            name="rows_from",
            options=_KINDS,
            value=state.rows_from,
            on_change=lambda value: state.choose("rows_from", value),
        ),
        rx.cond(state.rows_from == "takes", _number("Rated at least", "stars", state.stars, 1, 5)),
        rx.cond(state.rows_from == "ratings", _number("Rated apart by", "gap", state.gap, 0.5, 4)),
        rx.cond(state.rows_from != "votes", score),
        rx.cond(state.rows_from != "votes", criterion),
        select_field(
            "Made by",
            name="model_id",
            options=state.models,
            value=state.model_id,
            on_change=lambda value: state.choose("model_id", value),
        ),
        _narrowed(),
        text_field(
            "Name",
            name="name",
            default_value=state.name,
            max_length=120,
            on_change=lambda value: state.set_name(value).debounce(200),
        ),
        rx.el.p(state.problem, role="alert", class_name="text-[13px] text-danger empty:hidden"),
        rx.el.div(
            rx.el.p(state.counted, aria_live="polite", id="counted", class_name="text-sm tabular"),
            button(
                "Make dataset",
                variant="primary",
                loading=state.is_making,
                disabled=~state.can_make,
                on_click=state.make,
            ),
            class_name="flex items-center justify-between gap-3 flex-wrap",
        ),
        class_name="flex flex-col gap-4",
    )


def _narrowed() -> rx.Component:
    """Fewer ratings or votes: by tags, and by day."""
    state = FeedbackState
    tags = text_field(
        "Tags",
        name="tags",
        optional=True,
        help="With commas between; ratings that have all of them.",
        default_value=state.tags,
        on_change=lambda value: state.choose("tags", value).debounce(300),
    )
    return rx.el.details(
        rx.el.summary("Narrow it down", class_name="text-[13px] text-muted-foreground cursor-pointer"),
        rx.el.div(
            rx.cond(state.rows_from != "votes", tags, rx.fragment()),
            rx.el.div(
                _day("From", "since", state.since),
                _day("Until", "until", state.until),
                class_name="grid grid-cols-2 gap-3",
            ),
            class_name="flex flex-col gap-4 mt-3",
        ),
    )


def _day(label: str, name: str, value: Any) -> rx.Component:
    return text_field(
        label,
        name=name,
        type="date",
        optional=True,
        default_value=value,
        on_change=lambda typed: FeedbackState.choose(name, typed).debounce(300),
    )


def _number(label: str, name: str, value: Any, least: float, most: float) -> rx.Component:
    return number_field(
        label,
        name=name,
        unit="stars",
        min=least,
        max=most,
        step=0.5,
        default_value=value,
        on_change=lambda typed: FeedbackState.choose(name, typed).debounce(300),
    )


def _made(row: Any) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            text_link(row.name, href=row.href),
            rx.el.p(row.detail, class_name="text-xs text-muted-foreground tabular"),
            class_name="min-w-0 flex-1",
        ),
        status_badge(row.status),
        rx.cond(row.train_href != "", link_button("Train on this", href=row.train_href, size="sm")),
        class_name="flex items-center gap-3 py-2.5 flex-wrap",
    )


def _progress() -> rx.Component:
    state = FeedbackState
    seen = state.progress
    none = empty_state(
        "Nothing to rate yet",
        "Have a model make sounds in the studio; what you say of them is counted here.",
        link_button("Open the studio", href="/studio", icon="wand-sparkles"),
    )
    prompts = rx.el.ul(rx.foreach(state.prompts, _prompt), class_name="list-none m-0 p-0 flex flex-col gap-3")
    return rx.el.div(
        card(
            rx.el.p(seen.ready, id="ready", class_name="text-sm mb-2 tabular"),
            progress_bar(seen.percent, label="Takes to train on"),
            title="Enough to train on",
        ),
        grid(
            stat_card("Takes rated", seen.n_rated, icon="star"),
            stat_card("Ratings", seen.n_ratings, icon="list-checks"),
            stat_card("Mean", seen.mean, icon="gauge"),
            stat_card("Texts rated", seen.prompts, icon="text"),
        ),
        rx.cond(
            state.prompts.length() > 0, card(prompts, title="Texts, those with the fewest rated first"), none
        ),
        class_name="flex flex-col gap-4",
    )


def _prompt(row: Any) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.span(row.prompt, class_name="text-sm min-w-0 truncate"),
            rx.el.span(row.rated, class_name="text-xs text-muted-foreground tabular shrink-0"),
            class_name="flex justify-between gap-3 mb-1",
        ),
        progress_bar(row.percent, label=row.prompt),
    )
