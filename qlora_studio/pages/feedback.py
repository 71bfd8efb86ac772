"""What was rated and compared: datasets made of it, and whether there is enough."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, link_button, text_link
from qlora_studio.components.details import tabs
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.forms import number_field, select_field, text_field
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import status_badge
from qlora_studio.components.surfaces import card, page_header
from qlora_studio.pages.feedback_adapters import adapters_tab
from qlora_studio.pages.feedback_progress import progress_tab
from qlora_studio.pages.feedback_updates import update_button, update_dialog
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
            rx.cond(
                state.may_rate,
                link_button("Compare takes", href="/feedback/pairs", icon="headphones"),
                rx.fragment(),
            ),
            link_button("Listening tests", href="/listening", icon="users"),
        ),
        tabs(_TABS, current=state.tab),
        rx.cond(
            state.is_loading,
            skeleton("h-64 w-full"),
            rx.match(state.tab, ("adapters", adapters_tab()), ("progress", progress_tab()), _datasets()),
        ),
    )


def _datasets() -> rx.Component:
    state = FeedbackState
    none = rx.cond(
        state.may_train,
        empty_state(
            "No datasets from feedback yet",
            "Rate takes in the studio or compare them blind, then make a dataset of the best.",
            link_button("Rate takes", href="/studio", icon="wand-sparkles"),
        ),
        empty_state(
            "Datasets are made by trainers",
            "Your role is to listen. What people who train say of their takes becomes a dataset here.",
            link_button("Takes shared with you", href="/studio?shelf=shared", icon="wand-sparkles"),
        ),
    )
    listed = rx.el.ul(rx.foreach(state.made, _made), class_name="list-none m-0 p-0 divide-y divide-border")
    made = rx.cond(state.made.length() > 0, card(listed, title="Made so far"), none)
    both = rx.el.div(
        card(_form(), title="New dataset"),
        made,
        class_name="grid grid-cols-1 lg:grid-cols-2 gap-4 items-start",
    )
    return rx.fragment(rx.cond(state.may_train, both, card(made)), update_dialog())


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
        _choice("Made by", "model_id", state.models, state.model_id),
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
    """Fewer ratings or votes: of some takes, by whom, by tags, and by day."""
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
            _choice("Adapter", "adapter_id", state.adapters, state.adapter_id),
            _choice("Rated or compared by", "rater_id", state.raters, state.rater_id),
            rx.cond(state.rows_from != "votes", tags, rx.fragment()),
            rx.el.div(
                _day("From", "since", state.since),
                _day("Until", "until", state.until),
                class_name="grid grid-cols-2 gap-3",
            ),
            class_name="flex flex-col gap-4 mt-3",
        ),
    )


def _choice(label: str, name: str, options: Any, value: Any) -> rx.Component:
    return select_field(
        label,
        name=name,
        options=options,
        value=value,
        on_change=lambda chosen: FeedbackState.choose(name, chosen),
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
            rx.cond(
                row.problem != "",
                rx.el.p(
                    "It could not be brought up to date: ",
                    row.problem,
                    role="alert",
                    class_name="text-xs text-danger",
                ),
                rx.fragment(),
            ),
            class_name="min-w-0 flex-1 basis-40",
        ),
        status_badge(row.status),
        rx.cond(
            FeedbackState.may_train & row.can_update,
            rx.el.div(
                update_button(row.id, row.name),
                link_button("Train on this", href=row.train_href, size="sm"),
                class_name="flex flex-wrap gap-2",
            ),
            rx.fragment(),
        ),
        class_name="flex items-center gap-3 py-2.5 flex-wrap",
    )
