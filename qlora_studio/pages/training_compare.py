"""Two to six jobs side by side."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import link_button, text_link
from qlora_studio.components.charts import Kind, Trace, chart_controls, live_chart
from qlora_studio.components.feedback import error_state, skeleton
from qlora_studio.components.player import player
from qlora_studio.components.samples import legend, output_of, verdict_badge
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import status_badge
from qlora_studio.components.surfaces import card, grid, page_header
from qlora_studio.state.compare import CompareState

_N_JOBS = 6
_CHARTS: tuple[tuple[str, str, Kind, str], ...] = (
    ("loss", "Loss in training", "number", ""),
    ("eval_loss", "Loss on held-out clips", "number", ""),
    ("wer", "Word error rate on held-out clips", "percent", ""),
    ("cer", "Character error rate on held-out clips", "percent", ""),
    ("accuracy", "Accuracy on held-out clips", "percent", ""),
    ("macro_f1", "Macro F1 on held-out clips", "percent", ""),
    ("der", "Diarization error on held-out recordings", "percent", ""),
    ("reward_accuracy", "Held-out preferences met", "percent", ""),
    ("mel_distance", "Mel distance of made sounds, in dB", "rate", "dB"),
    ("learning_rate", "Learning rate", "number", ""),
    ("grad_norm", "Gradient norm", "number", ""),
    ("samples_per_s", "Speed, clips per second", "rate", "clips/s"),
    ("audio_s_per_s", "Speed, seconds of audio per second", "rate", "s/s"),
)
_EVALUATED = frozenset(("eval_loss", "wer", "cer", "accuracy", "macro_f1", "der", "reward_accuracy"))


@studio_page(
    "/training/compare",
    title="Compare jobs",
    section="training",
    crumbs=[("Training", "/training")],
    on_load=CompareState.load,
    wide=True,
)
def compare() -> rx.Component:
    """Curves, settings, figures and clips of the jobs that the address names."""
    state = CompareState
    back = link_button("All jobs", href="/training", icon="arrow-left")
    return rx.fragment(
        page_header("Compare jobs", "What was set differently, and what came of it.", back),
        rx.cond(
            state.load_error != "",
            card(error_state(state.load_error, on_retry=state.load)),
            rx.cond(state.is_loading, _loading(), _page()),
        ),
    )


def _loading() -> rx.Component:
    return rx.el.div(
        skeleton("h-40 w-full"),
        grid(skeleton("h-72 w-full"), skeleton("h-72 w-full"), columns="lg:grid-cols-2", class_name="mt-4"),
        role="status",
        aria_label="Loading",
    )


def _page() -> rx.Component:
    state = CompareState
    return rx.fragment(
        card(_table(), title="Settings that differ, and results"),
        rx.el.div(chart_controls(with_epochs=state.has_epochs), class_name="mt-6 mb-4"),
        grid(
            *(rx.cond(state.keys.contains(key), _chart(key, *rest), rx.fragment()) for key, *rest in _CHARTS),
            columns="lg:grid-cols-2",
        ),
        rx.cond(
            state.keys.length() == 0,
            card(
                rx.el.p("None of these jobs has measured anything yet.", class_name="text-muted-foreground"),
            ),
            rx.fragment(),
        ),
        rx.cond(state.clips.length() > 0, _clips(), rx.fragment()),
    )


def _chart(key: str, title: str, kind: Kind, unit: str) -> rx.Component:
    traces = [
        Trace(key, f"Job {i + 1}", f"--chart-{i + 1}", dots=key in _EVALUATED or key == "mel_distance", run=i)
        for i in range(_N_JOBS)
    ]
    state = CompareState
    chart = live_chart(
        traces,
        label=title,
        curves=state.curves,
        tail=state.tail,
        runs=state.runs,
        kind=kind,
        unit=unit,
        height=260,
    )
    return card(chart, title=title)


def _table() -> rx.Component:
    state = CompareState
    return rx.el.div(
        rx.el.table(
            rx.el.thead(rx.el.tr(_corner(), rx.foreach(state.jobs, _head))),
            rx.el.tbody(
                rx.foreach(state.settings, lambda line: _line(line, is_figure=False)),
                rx.cond(
                    state.settings.length() == 0,
                    rx.el.tr(
                        rx.el.td(
                            "All settings are the same.",
                            col_span=_N_JOBS + 1,
                            class_name="py-3 text-muted-foreground",
                        ),
                    ),
                    rx.fragment(),
                ),
                class_name="divide-y divide-border",
            ),
            rx.el.tbody(
                rx.foreach(state.figures, lambda line: _line(line, is_figure=True)),
                class_name="divide-y divide-border border-t-2 border-border",
            ),
            aria_label="Settings that differ, and results",
            class_name="w-full border-collapse text-[13px]",
        ),
        class_name="overflow-x-auto",
        tab_index=0,
        role="region",
        aria_label="Settings and results, can be scrolled",
    )


def _corner() -> rx.Component:
    return rx.el.th(rx.el.span("Setting or result", class_name="sr-only"), scope="col")


def _head(job: Any) -> rx.Component:
    return rx.el.th(
        rx.el.div(
            _dot(job.color),
            text_link(job.name, href=job.href),
            class_name="flex items-center gap-2 min-w-0",
        ),
        rx.el.div(
            status_badge(job.status),
            rx.el.span(job.took, class_name="tabular text-xs text-muted-foreground font-normal"),
            class_name="flex flex-wrap items-center gap-2 mt-1",
        ),
        rx.el.p(job.detail, class_name="text-xs text-muted-foreground font-normal mt-1 mb-0"),
        scope="col",
        class_name="text-left align-top px-3 pb-3 min-w-[150px]",
    )


def _dot(color: Any) -> rx.Component:
    """The colour that the job's curves have."""
    return rx.el.span(
        style={"background": color}, class_name="h-2.5 w-2.5 rounded-full shrink-0", aria_hidden="true"
    )


def _line(line: Any, *, is_figure: bool) -> rx.Component:
    return rx.el.tr(
        rx.el.th(
            line.label,
            scope="row",
            class_name="text-left font-normal text-muted-foreground py-2 pr-4 whitespace-nowrap align-top",
        ),
        rx.foreach(line.cells, _figure_cell if is_figure else _setting_cell),
    )


def _setting_cell(cell: Any) -> rx.Component:
    return rx.el.td(cell.text, class_name="px-3 py-2 tabular font-medium break-words align-top")


def _figure_cell(cell: Any) -> rx.Component:
    best = rx.el.span(
        rx.icon("check", size=13, aria_hidden="true"),
        "best",
        class_name="inline-flex items-center gap-0.5 text-xs text-success",
    )
    return rx.el.td(
        rx.el.span(cell.text, class_name=rx.cond(cell.is_best, "font-semibold text-success", "font-medium")),
        " ",
        rx.cond(cell.is_best, best, rx.fragment()),
        rx.el.span(cell.detail, class_name="block text-xs text-muted-foreground"),
        class_name="px-3 py-2 tabular align-top",
    )


def _clips() -> rx.Component:
    return card(
        rx.el.ul(rx.foreach(CompareState.clips, _clip), class_name="list-none p-0 m-0 -mt-3"),
        title="The same clips, worst first",
        description=legend(),
        class_name="mt-4",
    )


def _clip(row: Any) -> rx.Component:
    return rx.el.li(
        rx.cond(
            row.clip_id != "",
            rx.el.div(
                player(row.clip_id, duration_s=row.duration_s, peaks=row.peaks, label=row.reference),
                class_name="w-full max-w-[420px] mb-3",
            ),
            rx.fragment(),
        ),
        rx.el.dl(
            rx.el.dt("Reference", class_name="text-muted-foreground"),
            rx.el.dd(row.reference, class_name="m-0 min-w-0 break-words"),
            rx.foreach(row.outputs, _output),
            class_name="m-0 grid grid-cols-1 sm:grid-cols-[11rem_1fr] gap-x-4 gap-y-1.5 text-[13px]",
        ),
        class_name="py-4 border-b border-border last:border-0",
    )


def _output(output: Any) -> rx.Component:
    nothing = rx.el.span("has not looked at this clip", class_name="text-muted-foreground")
    made = rx.el.div(
        rx.el.div(output_of(output.row), class_name="min-w-0 flex-1 break-words"),
        verdict_badge(output.row),
        class_name="flex flex-wrap items-start justify-between gap-x-4 gap-y-1",
    )
    return rx.fragment(
        rx.el.dt(
            _dot(output.color),
            rx.el.span(output.name, class_name="truncate"),
            class_name="flex items-center gap-2 min-w-0 text-muted-foreground",
        ),
        rx.el.dd(rx.cond(output.has_output, made, nothing), class_name="m-0 min-w-0"),
    )
