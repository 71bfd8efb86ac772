"""The tab of the augmentation: how training clips are varied, heard beside the original."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.forms import error_text, select_field, slider_field, switch_field
from qlora_studio.components.player import player, varied_player
from qlora_studio.components.surfaces import card
from qlora_studio.state.dataset_augment import PARTS, AugmentState

# part -> (title, what it does, fields after the chance as (name, label, unit, step))
_SHOWN: dict[str, tuple[str, str, list[tuple[str, str, str, str]]]] = {
    "noise": (
        "Noise",
        "White noise under the clip's own level; fewer dB are more noise.",
        [("min_snr_db", "Loudest noise, below the clip", "dB", "1"), ("max_snr_db", "Softest noise", "dB", "1")],
    ),
    "gain": (
        "Gain",
        "Softer or louder.",
        [("min_db", "Softest", "dB", "1"), ("max_db", "Loudest", "dB", "1")],
    ),
    "time_masks": (
        "Time masks",
        "Short stretches of silence; never more than a fifth of the clip each.",
        [("count", "How many", "", "1"), ("max_s", "Longest", "s", "0.05")],
    ),
    "frequency_masks": (
        "Frequency masks",
        "Bands of pitch taken out.",
        [("count", "How many", "", "1"), ("max_share", "Widest, of all pitches", "%", "1")],
    ),
}  # fmt: skip
_PERCENT = ("probability", "max_share")


def augment_tab() -> rx.Component:
    """The parts at the left, what they sound like at the right."""
    outline = rx.el.div(
        skeleton("h-64 w-full"), skeleton("h-64 w-full"), class_name="grid gap-4 lg:grid-cols-2"
    )
    return rx.cond(
        AugmentState.is_loading,
        outline,
        rx.el.div(
            rx.el.div(*(_part(part) for part in _SHOWN), class_name="flex flex-col gap-4 min-w-0"),
            rx.el.div(_preview(), _keep(), class_name="flex flex-col gap-4 min-w-0 lg:sticky lg:top-20"),
            class_name="grid grid-cols-1 lg:grid-cols-2 gap-4 items-start",
        ),
    )


def _part(part: str) -> rx.Component:
    title, text, fields = _SHOWN[part]
    is_on = AugmentState.on[part]
    shown = [("probability", "Chance for each clip", "%", "5"), *fields]
    return card(
        switch_field(
            title, name=part, help=text, checked=is_on, on_change=lambda on: AugmentState.switch(part, on)
        ),
        rx.cond(
            is_on,
            rx.el.div(
                *(_field(part, *one) for one in shown),
                error_text(part, AugmentState.field_errors.get(part, "")),
                class_name="grid grid-cols-1 gap-3 mt-4 pt-4 border-t border-border",
            ),
            rx.fragment(),
        ),
    )


def _field(part: str, name: str, label: str, unit: str, step: str) -> rx.Component:
    low, high = _bounds(part, name)
    key = f"{part}.{name}"
    return slider_field(
        label,
        name=f"{part}-{name}",
        unit=unit,
        min=low,
        max=high,
        step=step,
        value=AugmentState.values[key],
        on_change=lambda text: AugmentState.set_value(key, text),
        error=AugmentState.field_errors.get(key, ""),
    )


def _bounds(part: str, name: str) -> tuple[str, str]:
    """The bounds of the spec; what must be above 0 begins at the slider's first step."""
    schema = PARTS[part].model_json_schema()["properties"][name]
    scale = 100 if name in _PERCENT else 1
    low = schema.get("minimum", 1 if name in _PERCENT else 0.05)
    return f"{low * (scale if 'minimum' in schema else 1):g}", f"{schema['maximum'] * scale:g}"


def _preview() -> rx.Component:
    state = AugmentState
    none = empty_state(
        "No training clips", "There is nothing to vary: no clip is trained on.", icon="ear-off"
    )
    chooser = rx.el.div(
        rx.el.div(
            select_field(
                "Clip", name="clip", options=state.clips, value=state.clip.id, on_change=state.choose
            ),
            class_name="flex-1 min-w-[180px]",
        ),
        button("Any clip", icon="dices", on_click=state.choose_any),
        class_name="flex flex-wrap items-end gap-2",
    )
    varied = rx.cond(
        state.trial != "",
        varied_player(
            state.clip.id, trial=state.trial, duration_s=state.clip.duration_s, label="with augmentation"
        ),
        rx.el.p(
            "Turn something on to hear what it does.", class_name="text-[13px] text-muted-foreground py-2"
        ),
    )
    heard = rx.el.div(
        chooser,
        rx.cond(
            state.clip.text != "",
            rx.el.p("“", state.clip.text, "”", class_name="text-[13px] text-muted-foreground line-clamp-2"),
            rx.fragment(),
        ),
        _line(
            "Original",
            player(
                state.clip.id, duration_s=state.clip.duration_s, peaks=state.clip.peaks, label="the original"
            ),
        ),
        _line("Augmented", varied),
        button(
            "Another draw",
            icon="refresh-cw",
            size="sm",
            on_click=state.draw_again,
            disabled=state.trial == "",
            class_name="self-start",
        ),
        class_name="flex flex-col gap-4",
    )
    return card(
        rx.cond(state.clip.id != "", heard, none),
        title="Hear it",
        description="Each draw is what one epoch of a training would hear.",
    )


def _line(label: str, sound: Any) -> rx.Component:
    return rx.el.div(
        rx.el.p(label, class_name="text-[13px] font-medium mb-1"),
        rx.el.div(sound, class_name="rounded-lg border border-border px-3 py-2"),
    )


def _keep() -> rx.Component:
    state = AugmentState
    return card(
        rx.el.p(
            "Only training clips are varied, each time anew. Validation and test clips are always measured as they "
            "are. Jobs that run already keep what they were launched with.",
            class_name="text-[13px] text-muted-foreground",
        ),
        rx.el.div(
            rx.el.span(
                rx.cond(state.is_changed, "Not saved yet", ""),
                role="status",
                class_name="text-[13px] text-muted-foreground",
            ),
            button(
                "Save",
                variant="primary",
                on_click=state.save,
                loading=state.is_sending,
                disabled=~state.is_changed | (state.field_errors.length() > 0),
            ),
            class_name="flex items-center justify-end gap-3 mt-4",
        ),
    )
