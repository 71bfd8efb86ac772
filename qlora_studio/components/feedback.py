"""What a page shows when it has nothing, has failed, or is not there yet."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button


def empty_state(title: Any, text: Any, *actions: Any, icon: str = "audio-lines") -> rx.Component:
    """One drawing, one sentence, one primary action (and at most one more)."""
    return rx.el.div(
        _drawing(icon),
        rx.el.h2(title, class_name="text-[15px] font-semibold mt-4"),
        rx.el.p(text, class_name="text-muted-foreground mt-1 max-w-[46ch] text-balance"),
        rx.el.div(*actions, class_name="flex flex-wrap justify-center gap-2 mt-5"),
        class_name="flex flex-col items-center text-center py-14 px-6",
    )


def _drawing(icon: str) -> rx.Component:
    heights = (10, 18, 30, 22, 14, 26, 12)
    bars = [
        rx.el.rect(
            x=str(6 + i * 8), y=str(26 - h / 2), width="3", height=str(h), rx="1.5", fill="var(--border)"
        )
        for i, h in enumerate((*heights, *reversed(heights)))
    ]
    return rx.el.div(
        rx.el.svg(*bars, width="116", height="52", view_box="0 0 116 52", aria_hidden="true"),
        rx.el.div(
            rx.icon(icon, size=22, class_name="text-primary-text", aria_hidden="true"),
            class_name="absolute inset-0 m-auto h-12 w-12 rounded-[12px] bg-card border border-border shadow-card grid place-items-center",
        ),
        class_name="relative",
    )


def error_state(message: Any, *, on_retry: Any = None) -> rx.Component:
    """The page could not be loaded: the sentence, and a way to try again."""
    retry = [button("Try again", icon="rotate-cw", on_click=on_retry)] if on_retry is not None else []
    return rx.el.div(
        rx.icon("cloud-off", size=28, class_name="text-danger", aria_hidden="true"),
        rx.el.h2("This could not be loaded", class_name="text-[15px] font-semibold mt-3"),
        rx.el.p(message, class_name="text-muted-foreground mt-1 max-w-[52ch]"),
        rx.el.div(*retry, class_name="mt-4"),
        role="alert",
        class_name="flex flex-col items-center text-center py-14 px-6",
    )


def skeleton(class_name: str = "h-4 w-full") -> rx.Component:
    """A grey stand-in of the size of what will come."""
    return rx.el.div(class_name=f"skeleton {class_name}", aria_hidden="true")


def skeleton_rows(n: int = 6) -> rx.Component:
    """A table that is being loaded."""
    row = [
        rx.el.div(
            skeleton("h-4 w-[28%]"),
            skeleton("h-4 w-[12%]"),
            skeleton("h-4 w-[18%]"),
            skeleton("h-4 w-[10%]"),
            class_name="flex items-center justify-between gap-6 h-12 border-b border-border last:border-0",
        )
        for _ in range(n)
    ]
    return rx.el.div(*row, role="status", aria_label="Loading", class_name="px-4")


def loading_switch(
    *, is_loading: Any, error: Any, is_empty: Any, loading: Any, empty: Any, full: Any, on_retry: Any = None
) -> rx.Component:
    """Show the one of the four states that a page is in; `error` is a sentence or an empty string."""
    return rx.cond(
        is_loading,
        loading,
        rx.cond(error != "", error_state(error, on_retry=on_retry), rx.cond(is_empty, empty, full)),
    )
