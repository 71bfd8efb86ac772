"""The dialog that deals clips out to train, validation and test, with its preview."""

import reflex as rx

from qlora_studio.components.buttons import button
from qlora_studio.components.dialogs import dialog
from qlora_studio.components.forms import checkbox_field, number_field
from qlora_studio.components.surfaces import notice
from qlora_studio.state.dataset_split import PartRow, SplitState

_CELL = "py-2 pr-4 align-top"


def split_dialog() -> rx.Component:
    """The form, what it would give, and the button that does it."""
    return dialog(
        _form(),
        is_open=SplitState.dialog == "split",
        title="Change the split",
        description="Clips with the same words or the same sound stay on one side. The same seed gives the same choice.",
        on_close=SplitState.close_dialog,
        width="640px",
    )


def _form() -> rx.Component:
    state = SplitState
    changed = {"on_change": state.start_over}
    numbers = rx.el.div(
        number_field(
            "Validation", name="validation", unit="%", min=0, max=90, default_value=20,
            error=state.field_errors.get("validation", ""), **changed,
        ),
        number_field(
            "Test", name="test", unit="%", min=0, max=90, default_value=0,
            error=state.field_errors.get("test", ""), **changed,
        ),
        number_field(
            "Seed", name="seed", min=0, step=1, default_value=0,
            error=state.field_errors.get("seed", ""), **changed,
        ),
        class_name="grid grid-cols-1 sm:grid-cols-3 gap-4",
    )  # fmt: skip
    labels = rx.fragment(
        rx.el.input(type="hidden", name="has_labels", value="1"),
        checkbox_field(
            "The same mix of labels in each",
            name="stratify",
            help="Each label is dealt out by itself.",
            default_checked=True,
            **changed,
        ),
    )
    return rx.form.root(
        rx.el.div(
            numbers,
            checkbox_field(
                "Keep speakers on one side",
                name="by_speaker",
                help="A held-out speaker is then never trained on.",
                default_checked=state.by_speaker,
                **changed,
            ),
            rx.cond(state.has_labels, labels, rx.fragment()),
            rx.el.div(_preview(), role="status"),
            rx.el.div(
                button("Cancel", on_click=state.close_dialog),
                button("Preview", type="submit", icon="eye", loading=state.is_planning),
                button(
                    "Apply",
                    variant="primary",
                    on_click=state.apply,
                    loading=state.is_sending,
                    disabled=~state.preview.changes,
                ),
                class_name="flex flex-wrap justify-end gap-2",
            ),
            class_name="flex flex-col gap-4",
        ),
        on_submit=state.plan,
        reset_on_submit=False,
        no_validate=True,
    )


def _preview() -> rx.Component:
    preview = SplitState.preview
    heads = ("Split", "Clips", "Audio", "Speakers", "Labels")
    table = rx.el.div(
        rx.el.table(
            rx.el.thead(
                rx.el.tr(
                    *(
                        rx.el.th(
                            h, scope="col", class_name="text-left font-medium text-muted-foreground pr-4"
                        )
                        for h in heads
                    )
                )
            ),
            rx.el.tbody(rx.foreach(preview.parts, _part), class_name="divide-y divide-border"),
            aria_label="Preview",
            class_name="w-full text-[13px] border-collapse",
        ),
        class_name="overflow-x-auto",
        tab_index=0,
        role="region",
        aria_label="What the split would be",
    )
    shown = rx.el.div(
        table,
        rx.el.p(preview.moved, class_name="text-[13px] font-medium mt-2 tabular"),
        rx.foreach(
            preview.warnings,
            lambda text: rx.el.div(notice(text, tone="warning", icon="triangle-alert"), class_name="mt-2"),
        ),
        class_name="rounded-lg border border-border p-3",
    )
    waiting = rx.el.p(
        rx.cond(SplitState.is_planning, "Working it out …", "Look at the preview before you apply it."),
        class_name="text-[13px] text-muted-foreground",
    )
    return rx.cond(preview.moved != "", shown, waiting)


def _part(part: PartRow) -> rx.Component:
    return rx.el.tr(
        rx.el.th(part.name, scope="row", class_name="text-left font-medium " + _CELL),
        rx.el.td(
            part.clips,
            rx.el.span(" (", part.share, ")", class_name="text-muted-foreground"),
            class_name="tabular whitespace-nowrap " + _CELL,
        ),
        rx.el.td(part.audio, class_name="tabular whitespace-nowrap " + _CELL),
        rx.el.td(part.speakers, class_name="tabular " + _CELL),
        rx.el.td(part.labels, class_name="min-w-[120px] " + _CELL),
    )
