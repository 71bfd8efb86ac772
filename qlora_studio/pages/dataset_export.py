"""The dialog that takes a dataset out as files."""

import reflex as rx

from qlora_studio.components.buttons import button, download_button
from qlora_studio.components.details import code_block
from qlora_studio.components.dialogs import dialog
from qlora_studio.components.forms import choice_card, text_field
from qlora_studio.state.dataset_export import ExportState

_FORMATS = [
    ("audiofolder", "Audio folder", "A zip with the recordings and their words. Trains elsewhere.", "folder-archive"),
    ("jsonl", "JSON lines", "The table only, exact, a line for each clip.", "braces"),
    ("csv", "CSV", "The table only, safe to open in a spreadsheet.", "table"),
]  # fmt: skip


def export_button() -> rx.Component:
    """Opens the dialog."""
    return button("Export", icon="download", on_click=ExportState.open)


def export_dialog() -> rx.Component:
    """Format, version, size, and the commands that go with it."""
    state = ExportState
    return dialog(
        rx.el.div(
            rx.el.div(
                *(
                    choice_card(
                        title, text, icon=icon, selected=state.format == key, on_select=state.choose(key)
                    )
                    for key, title, text, icon in _FORMATS
                ),
                role="group",
                aria_label="Format",
                class_name="grid grid-cols-1 sm:grid-cols-3 gap-3",
            ),
            rx.el.div(
                rx.el.div(
                    text_field(
                        "Version",
                        name="version",
                        input_mode="numeric",
                        auto_complete="off",
                        default_value=state.export.version,
                        on_blur=state.set_version,
                        error=state.field_errors.get("version", ""),
                    ),
                    class_name="w-32",
                ),
                rx.el.p(
                    state.export.clips,
                    ", about ",
                    state.export.size,
                    role="status",
                    class_name="text-[13px] text-muted-foreground tabular pb-2",
                ),
                class_name="flex flex-wrap items-end gap-4",
            ),
            rx.cond(state.format == "audiofolder", _recipe(), rx.fragment()),
            rx.el.div(
                button("Close", on_click=state.close_dialog),
                download_button("Download", href=state.export.href, variant="primary"),
                class_name="flex justify-end gap-2",
            ),
            class_name="flex flex-col gap-4",
        ),
        is_open=state.dialog == "export",
        title="Export",
        description="Clips that are left out stay out.",
        on_close=state.close_dialog,
        width="680px",
    )


def _recipe() -> rx.Component:
    export = ExportState.export
    return rx.el.div(
        rx.el.p(
            "To train on it anywhere, save this as ",
            rx.el.code(export.yaml_name, class_name="text-[12.5px]"),
            " beside the zip, then run the command:",
            class_name="text-[13px]",
        ),
        code_block(export.yaml, label="Copy the parameters", max_height="160px"),
        code_block(export.command, label="Copy the command"),
        rx.el.p("Or load it in Python:", class_name="text-[13px]"),
        code_block(export.python, label="Copy the line of Python"),
        class_name="flex flex-col gap-2 min-w-0",
    )
