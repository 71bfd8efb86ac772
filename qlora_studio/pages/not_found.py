"""An address that names nothing."""

import reflex as rx

from qlora_studio.components.buttons import link_button


@rx.page(route="/404", title="Not found · QLoRA Studio")
def not_found() -> rx.Component:
    """Say so, and show the way back."""
    return rx.el.main(
        rx.el.p("404", class_name="text-[13px] font-medium text-muted-foreground tabular"),
        rx.el.h1(
            "There is nothing at this address", class_name="text-[22px] font-semibold tracking-[-0.02em] mt-1"
        ),
        rx.el.p(
            "It may have been deleted, or it belongs to somebody else.",
            class_name="text-muted-foreground mt-1 mb-6",
        ),
        link_button("Back to the dashboard", href="/", icon="arrow-left"),
        class_name="min-h-dvh flex flex-col items-center justify-center text-center px-6",
    )
