"""The first tab of a dataset: its counts, its splits, what could not be used, and how it is spread."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, page_link
from qlora_studio.components.charts import bar_chart
from qlora_studio.components.details import key_values, time_text
from qlora_studio.components.feedback import skeleton
from qlora_studio.components.surfaces import card, grid, stat_card
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_overview import DatasetChartsState
from qlora_studio.state.dataset_rows import ReasonRow
from qlora_studio.state.dataset_split import SplitState

_LINK = "inline-block mt-3 text-[13px] text-primary-text font-medium hover:underline underline-offset-4"


def overview_tab() -> rx.Component:
    """The counts first, then the splits and what is left out, then the charts."""
    shown = DatasetState.dataset
    return rx.fragment(
        grid(
            stat_card("Clips", shown.clips, icon="audio-lines", hint=shown.task),
            stat_card("Audio", shown.hours, icon="clock", hint=shown.size),
            stat_card(
                "Left out", shown.n_left_out.to_string(), icon="filter-x", hint="broken, silent or by hand"
            ),
            stat_card("Version", shown.version, icon="git-commit-horizontal", hint=shown.content_hash),
        ),
        grid(_splits(), _left_out(), columns="grid-cols-1 lg:grid-cols-2", class_name="mt-4"),
        grid(*_charts(), columns="grid-cols-1 lg:grid-cols-2", class_name="mt-4"),
    )


def _splits() -> rx.Component:
    shown = DatasetState.dataset
    parts = [
        ("Train", shown.train, shown.train_percent, "bg-chart-1"),
        ("Validation", shown.validation, shown.validation_percent, "bg-chart-2"),
        ("Test", shown.test, shown.test_percent, "bg-chart-3"),
    ]
    bar = rx.el.div(
        *(
            rx.el.div(class_name=f"h-full {tone}", style={"width": share.to_string() + "%"})
            for _, _, share, tone in parts
        ),
        class_name="flex h-2 rounded-full overflow-hidden bg-subtle gap-px mb-3",
        aria_hidden="true",
    )
    dots = [
        (
            rx.el.span(
                rx.el.span(class_name=f"inline-block h-2 w-2 rounded-full mr-2 {tone}", aria_hidden="true"),
                label,
            ),
            text,
        )
        for label, text, _, tone in parts
    ]
    return card(
        bar,
        key_values(
            *dots,
            ("Labels", shown.labels),
            ("Added", time_text(shown.added, shown.added_exact)),
        ),
        title="Split",
        description="Validation clips are held out to measure the result.",
        actions=rx.cond(
            DatasetState.dataset.may_change,
            button("Change", size="sm", icon="shuffle", on_click=SplitState.open(False)),
            rx.fragment(),
        ),
    )


def _left_out() -> rx.Component:
    shown = DatasetState.dataset
    nothing = rx.el.div(
        rx.icon("circle-check", size=18, class_name="text-success", aria_hidden="true"),
        rx.el.p("Every file could be used."),
        class_name="flex items-center gap-2.5 text-[13px] py-2",
    )
    listed = rx.el.div(
        rx.foreach(DatasetState.reasons, _reason),
        page_link("Show them", href="/datasets/" + shown.id + "?tab=clips&status=rejected", class_name=_LINK),
    )
    return card(
        rx.cond(DatasetState.reasons.length() > 0, listed, nothing),
        title="What could not be used",
        description="Nothing is dropped silently; each file has its reason.",
    )


def _reason(row: ReasonRow) -> rx.Component:
    return rx.el.div(
        rx.el.span(row.kind),
        rx.el.span(row.count, class_name="tabular font-medium"),
        class_name="flex justify-between gap-4 py-2 text-[13px] border-b border-border",
    )


def _charts() -> list[rx.Component]:
    state = DatasetChartsState
    durations = bar_chart(label=state.duration_text, bars=state.durations, unit="s")
    pace = bar_chart(label=state.pace_text, bars=state.pace, lines=state.pace_lines)
    labels = bar_chart(label=state.label_text, bars=state.labels, lying=True, height=state.label_height)
    return [
        _chart("Length of the clips", durations, description="Of clips in use, in seconds."),
        rx.cond(
            state.pace["x"].length() > 0,
            _chart(
                "Pace",
                pace,
                description=rx.fragment(
                    "Characters per second.",
                    rx.cond(
                        state.pace_lines.length() > 0,
                        " Beyond the dotted lines it is odd for this dataset.",
                        "",
                    ),
                ),
            ),
            rx.fragment(),
        ),
        rx.cond(
            state.labels["x"].length() > 0,
            _chart("Classes", labels, description="How many clips each class has, the largest first."),
            rx.fragment(),
        ),
    ]


def _chart(title: str, chart: rx.Component, *, description: Any) -> rx.Component:
    waiting = skeleton("h-[220px] w-full")
    return card(rx.cond(DatasetChartsState.is_loading, waiting, chart), title=title, description=description)
