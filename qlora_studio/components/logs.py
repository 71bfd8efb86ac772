"""The tail of a log."""

from typing import Any

import reflex as rx


def log_view(lines: Any) -> rx.Component:
    """The lines, newest at the bottom; it stays at the bottom unless somebody has scrolled up."""
    return rx.el.div(
        rx.el.div(
            rx.foreach(lines, _line),
            class_name="min-w-full w-max",
        ),
        role="log",
        aria_label="Log",
        tab_index=0,
        class_name=(
            "flex flex-col-reverse overflow-auto h-[min(60vh,560px)] rounded-lg border border-border "
            "bg-muted p-4 text-[12.5px] leading-[1.65] font-mono"
        ),
    )


def _line(line: Any) -> rx.Component:
    tone = rx.match(
        line.level,
        ("error", "whitespace-pre text-danger"),
        ("warning", "whitespace-pre text-warning"),
        ("debug", "whitespace-pre text-muted-foreground"),
        "whitespace-pre",
    )
    return rx.el.div(line.text, class_name=tone)
