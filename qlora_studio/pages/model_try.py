"""The card of a model's page where it hears a clip: dropped, chosen or recorded."""

import reflex as rx

from qlora_studio.components.buttons import button
from qlora_studio.components.details import copy_button
from qlora_studio.components.forms import number_field, select_field, slider_field, textarea_field
from qlora_studio.components.player import made_player
from qlora_studio.components.status import progress_bar
from qlora_studio.components.surfaces import card, notice
from qlora_studio.components.timelines import timeline_axis, timeline_line, timeline_speakers
from qlora_studio.components.trial_clip import trial_clip
from qlora_studio.contracts.inference import MAX_PROMPT
from qlora_studio.state.model_try import ClassRow, ModelTryState, ResultView
from qlora_studio.state.timelines import AnswerLine


def try_card() -> rx.Component:
    """Try the model, with or without an adapter."""
    state = ModelTryState
    return card(
        rx.el.div(
            rx.el.div(
                rx.cond(
                    state.makes_sound,
                    _prompt(),
                    trial_clip(
                        most_bytes=state.most_bytes,
                        most_s=state.most_s,
                        on_sent=state.take_clip,
                        on_gone=state.let_clip_go,
                    ),
                ),
                _settings(),
                _actions(),
                class_name="min-w-0 flex flex-col gap-4",
            ),
            rx.el.div(_outcome(), class_name="min-w-0", aria_live="polite"),
            class_name="grid grid-cols-1 lg:grid-cols-2 gap-5 lg:gap-8",
        ),
        title="Try it",
        description=rx.match(
            state.task,
            ("audio-classification", "Let it hear something, and see what it takes it for."),
            ("text-to-audio", "Describe a sound, and hear what it makes of that."),
            ("speaker-diarization", "Let it hear people talking, and see who speaks when."),
            "Let it hear something, and read what it made of it.",
        ),
        id="try",
    )


def _prompt() -> rx.Component:
    state = ModelTryState
    return rx.el.div(
        textarea_field(
            "Sound",
            name="try-prompt",
            rows=3,
            max_length=MAX_PROMPT,
            placeholder="A slow piano melody over soft rain",
            default_value=state.prompt,
            on_blur=state.set_prompt,
            help="Describe what you want to hear.",
        ),
        slider_field(
            "Length",
            name="try-seconds",
            unit="s",
            min="1",
            max="30",
            step="1",
            value=state.seconds,
            on_change=state.set_seconds,
            error="",
        ),
        rx.el.div(
            number_field(
                "Seed",
                name="try-seed",
                step="1",
                min="0",
                default_value=state.seed,
                on_blur=state.set_seed,
                help="The same text and seed give the same sound.",
            ),
            class_name="sm:w-1/2",
        ),
        class_name="flex flex-col gap-4",
    )


def _settings() -> rx.Component:
    state = ModelTryState
    return rx.cond(
        state.adapters.length() > 0,
        rx.el.div(
            select_field(
                "With",
                name="try-adapter",
                options=state.adapters,
                value=state.adapter_id,
                on_change=state.choose_adapter,
                first=rx.cond(state.has_base, rx.el.option("Base model alone", value=""), rx.fragment()),
            ),
            rx.cond(
                state.left_out != "",
                rx.el.p(state.left_out, class_name="text-xs text-muted-foreground"),
                rx.fragment(),
            ),
            rx.cond(state.adapter_id != "", _with_adapter(), rx.fragment()),
            class_name="flex flex-col gap-3",
        ),
        rx.fragment(),
    )


def _with_adapter() -> rx.Component:
    state = ModelTryState
    return rx.el.div(
        slider_field(
            "Strength",
            name="try-strength",
            unit="×",
            min="0",
            max="2",
            step="0.05",
            value=state.strength,
            on_change=state.set_strength,
            error="",
        ),
        rx.cond(
            state.has_base,
            rx.el.label(
                rx.el.input(
                    type="checkbox",
                    checked=state.with_base,
                    on_change=state.set_with_base,
                    class_name="h-4 w-4 accent-[var(--primary)]",
                ),
                "Compare with the base model",
                class_name="flex items-center gap-2.5 text-[13px] cursor-pointer",
            ),
            rx.fragment(),
        ),
        class_name="flex flex-col gap-3",
    )


def _actions() -> rx.Component:
    state = ModelTryState
    again = rx.match(
        state.task,
        ("audio-classification", "Classify"),
        ("text-to-audio", "Make the sound"),
        ("speaker-diarization", "Tell apart"),
        "Transcribe",
    )
    return rx.el.div(
        rx.cond(state.note != "", notice(state.note, icon="hourglass", tone="warning"), rx.fragment()),
        rx.cond(
            (state.clip_id != "") | state.makes_sound,
            rx.el.div(
                rx.cond(state.makes_sound, _ask(again, "audio-lines"), _ask(again, "ear")),
                rx.cond(state.is_busy, button("Cancel", on_click=state.cancel), rx.fragment()),
                class_name="flex gap-2",
            ),
            rx.fragment(),
        ),
        class_name="flex flex-col gap-3 empty:hidden",
    )


def _ask(text: rx.Var[str], icon: str) -> rx.Component:
    state = ModelTryState
    return button(text, icon=icon, variant="primary", loading=state.is_busy, on_click=state.listen)


def _outcome() -> rx.Component:
    state = ModelTryState
    return rx.cond(
        state.is_busy,
        rx.el.div(
            progress_bar(state.percent, label=state.label, active=True),
            rx.el.p(state.label, " …", class_name="mt-2 text-[13px] text-muted-foreground"),
            class_name="py-2",
        ),
        rx.cond(
            state.refusal != "",
            notice(state.refusal, tone="danger", icon="circle-alert"),
            rx.cond(
                state.results.length() > 0,
                rx.el.div(rx.foreach(state.results, _result), class_name="flex flex-col gap-4"),
                _nothing_yet(),
            ),
        ),
    )


def _nothing_yet() -> rx.Component:
    return rx.el.div(
        rx.icon("audio-lines", size=22, class_name="text-muted-foreground", aria_hidden="true"),
        rx.el.p(
            rx.cond(
                ModelTryState.makes_sound, "What it makes is heard here.", "What it hears is shown here."
            ),
            class_name="text-[13px] text-muted-foreground",
        ),
        class_name="h-full min-h-[120px] flex flex-col items-center justify-center gap-2 rounded-[10px] bg-muted",
    )


def _result(result: ResultView) -> rx.Component:
    return rx.el.article(
        rx.el.div(
            rx.el.h3(result.title, class_name="text-[13px] font-semibold truncate"),
            rx.el.span(result.detail, class_name="text-xs text-muted-foreground tabular ml-auto text-right"),
            rx.cond(
                result.text != "",
                copy_button(text=result.text, label="Copy transcript", class_name="shrink-0"),
                rx.fragment(),
            ),
            class_name="flex items-center gap-3 mb-1.5",
        ),
        rx.cond(
            result.sound_url != "",
            made_player(result.sound_url, duration_s=result.sound_s, peaks=result.peaks, label="the sound"),
            rx.fragment(),
        ),
        rx.cond(
            result.classes.length() > 0,
            rx.el.ul(rx.foreach(result.classes, _class), class_name="list-none p-0 m-0 flex flex-col gap-2"),
            rx.cond(
                result.is_silent,
                rx.el.p(
                    rx.cond(
                        ModelTryState.task == "speaker-diarization", "It heard nobody.", "It heard no words."
                    ),
                    class_name="text-[13px] text-muted-foreground",
                ),
                rx.cond(
                    result.timeline.speakers.length() > 0,
                    _timeline(result.timeline),
                    rx.el.p(result.text, class_name="leading-6 break-words max-h-80 overflow-y-auto"),
                ),
            ),
        ),
        class_name="rounded-[10px] border border-border p-4",
    )


def _timeline(answer: AnswerLine) -> rx.Component:
    return rx.el.div(
        timeline_speakers(answer.speakers),
        timeline_line(answer.line),
        timeline_axis(answer.end),
        class_name="flex flex-col gap-1.5 text-[13px]",
    )


def _class(row: ClassRow) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.span(row.label, class_name="truncate"),
            rx.el.span(row.probability, class_name="tabular text-muted-foreground shrink-0"),
            class_name="flex justify-between gap-3 text-[13px] mb-1",
        ),
        rx.el.div(
            rx.el.div(
                class_name="h-full rounded-full bg-primary", style={"width": row.percent.to_string() + "%"}
            ),
            class_name="h-1.5 rounded-full bg-subtle overflow-hidden",
            aria_hidden="true",
        ),
    )
