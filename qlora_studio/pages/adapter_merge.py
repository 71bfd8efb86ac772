"""The card “Merged model” on an adapter's page."""

import reflex as rx

from qlora_studio.components.buttons import button, download_button
from qlora_studio.components.forms import select_input
from qlora_studio.components.surfaces import card, notice
from qlora_studio.state.merging import MergingState

_BITS = [("16", "16 bits"), ("32", "32 bits")]


def merge_card() -> rx.Component:
    """Make one model of base and adapter, and take it along."""
    return card(
        rx.match(
            MergingState.merge.state,
            ("running", _running()),
            ("ready", _ready()),
            ("failed", rx.fragment(_failed(), _offer())),
            _offer(),
        ),
        title="Merged model",
        description=(
            "Base and adapter as one ordinary model, for programs that know nothing of adapters. It is merged "
            "into the base as it comes back from 4 bits, and its outputs are compared before it is kept."
        ),
        class_name="mt-4",
        id="merge",
    )


def _offer() -> rx.Component:
    return rx.el.div(
        rx.el.div(
            select_input(
                name="bits",
                options=_BITS,
                value=MergingState.bits,
                on_change=MergingState.choose_bits,
                aria_label="Bits of the merged weights",
            ),
            class_name="w-32",
        ),
        button("Merge into a full model", icon="merge", on_click=MergingState.start),
        class_name="flex flex-wrap items-center gap-2",
    )


def _running() -> rx.Component:
    return rx.el.div(
        rx.icon("loader-circle", size=16, class_name="spinner shrink-0", aria_hidden="true"),
        rx.el.p(MergingState.merge.progress, " …", class_name="text-[13px] flex-1", role="status"),
        button("Cancel", icon="x", on_click=MergingState.remove),
        class_name="flex items-center gap-2.5",
    )


def _ready() -> rx.Component:
    shown = MergingState.merge
    return rx.el.div(
        rx.el.p(shown.sentence, class_name="text-[13px]"),
        rx.el.p(shown.size, class_name="text-[13px] text-muted-foreground tabular"),
        rx.el.div(
            download_button("Download merged model", href=shown.download, variant="primary"),
            button(
                "Add as base model",
                icon="plus",
                on_click=MergingState.add_model,
                disabled=MergingState.is_adding,
            ),
            button("Remove", icon="trash-2", variant="ghost", on_click=MergingState.remove),
            class_name="flex flex-wrap items-center gap-2 mt-1",
        ),
        class_name="flex flex-col gap-2",
    )


def _failed() -> rx.Component:
    return rx.el.div(
        notice(MergingState.merge.message, icon="circle-alert", tone="danger"), class_name="mb-3"
    )
