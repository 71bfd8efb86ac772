"""A banner while the server cannot be reached."""

import reflex as rx


def overlay(_is_stateful: bool) -> rx.Component:
    """Shown over every page while the websocket is down."""
    return rx.fragment(
        rx.connection_banner(
            rx.el.div(
                rx.icon("loader-circle", size=15, class_name="spinner", aria_hidden="true"),
                "Connection lost. Training goes on; reconnecting…",
                role="status",
                class_name="fixed bottom-4 left-1/2 -translate-x-1/2 z-50 flex items-center gap-2 rounded-lg bg-foreground text-background text-[13px] font-medium px-4 py-2.5 shadow-overlay",
            )
        )
    )
