"""The effect certificate on an adapter's page: the verdict, its figures, and how far each layer moved."""

from typing import Any

import reflex as rx

from qlora_studio.components.status import status_badge
from qlora_studio.components.surfaces import card
from qlora_studio.state.adapters import AdapterState


def certificate_card() -> rx.Component:
    """What the adapter does to its base model; nothing where it was never measured."""
    shown = AdapterState.certificate
    return rx.cond(
        shown.verdict != "",
        card(
            rx.el.div(
                status_badge(shown.verdict),
                rx.el.p(shown.sentence, class_name="text-sm min-w-0 flex-1 basis-64"),
                class_name="flex flex-wrap items-start gap-x-3 gap-y-2",
                id="verdict",
            ),
            rx.el.details(
                rx.el.summary(
                    "What this rests on",
                    class_name="cursor-pointer text-[13px] font-medium text-muted-foreground mt-4 py-1",
                ),
                rx.el.div(
                    rx.el.dl(
                        rx.foreach(shown.figures, _figure),
                        class_name="m-0 min-w-0",
                    ),
                    _layers(),
                    class_name="grid grid-cols-1 lg:grid-cols-2 gap-x-8 gap-y-4 mt-2",
                ),
            ),
            title="Effect certificate",
            description="Measured when the job ended: the adapter against its own base model.",
            class_name="mb-4",
        ),
        rx.fragment(),
    )


def _figure(row: Any) -> rx.Component:
    return rx.el.div(
        rx.el.dt(row.name, class_name="text-muted-foreground text-[13px]"),
        rx.el.dd(row.value, class_name="text-[13px] font-medium text-right m-0 tabular"),
        class_name="flex justify-between gap-4 py-2 border-b border-border",
    )


def _layers() -> rx.Component:
    return rx.el.div(
        rx.el.p("Layers that moved most", class_name="text-[13px] text-muted-foreground py-2"),
        rx.el.ul(rx.foreach(AdapterState.certificate.layers, _layer), class_name="list-none m-0 p-0"),
        class_name="min-w-0",
    )


def _layer(row: Any) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.code(row.name, class_name="text-xs min-w-0 break-all"),
            rx.el.span(row.change, class_name="text-xs tabular whitespace-nowrap"),
            class_name="flex justify-between gap-3",
        ),
        rx.el.div(
            rx.el.div(
                class_name="h-full rounded-full bg-primary", style={"width": row.share.to_string() + "%"}
            ),
            class_name="h-1 rounded-full bg-subtle overflow-hidden mt-1 mb-2",
            aria_hidden="true",
        ),
    )
