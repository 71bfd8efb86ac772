"""A speaker timeline: bars for turns, one lane for each speaker, and the same in words for screen readers."""

from typing import Any

import reflex as rx


def timeline_line(line: Any) -> rx.Component:
    """The turns of a reference or of one answer."""
    return rx.el.div(
        rx.el.div(
            rx.foreach(line.bars, _bar),
            role="img",
            aria_label=line.spoken,
            style={"height": line.height},
            class_name="relative w-full min-h-3 rounded-sm bg-muted overflow-hidden",
        ),
        class_name="py-0.5",
    )


def timeline_axis(end: Any) -> rx.Component:
    """Where the time shown begins and ends."""
    return rx.el.div(
        rx.el.span("0 s"),
        rx.el.span(end),
        class_name="flex justify-between text-xs text-muted-foreground tabular",
    )


def timeline_speakers(speakers: Any) -> rx.Component:
    """Which colour is whose."""
    return rx.el.ul(
        rx.foreach(speakers, _speaker), class_name="list-none m-0 p-0 flex flex-wrap gap-x-4 gap-y-1"
    )


def _bar(bar: Any) -> rx.Component:
    return rx.el.span(
        title=bar.title,
        style={"left": bar.left, "width": bar.width, "top": bar.top, "background": bar.colour},
        class_name="absolute h-2 mt-0.5 rounded-[2px]",
    )


def _speaker(speaker: Any) -> rx.Component:
    return rx.el.li(
        rx.el.span(
            style={"background": speaker.colour}, class_name="size-2 rounded-full", aria_hidden="true"
        ),
        speaker.name,
        class_name="flex items-center gap-1.5",
    )
