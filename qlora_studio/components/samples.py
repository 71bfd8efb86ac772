"""The fixed panel of validation clips: what was said, what the base model heard, what the model hears now."""

from typing import Any

import reflex as rx

from qlora_studio.components.player import made_player, player
from qlora_studio.components.status import badge
from qlora_studio.components.timelines import timeline_axis, timeline_line, timeline_speakers

_WRONG = "text-danger underline decoration-wavy decoration-1 underline-offset-4"
_MISSING = "text-muted-foreground line-through"


def sample_card(row: Any) -> rx.Component:
    """One clip: its sound, its reference, and both transcripts with their differences marked."""
    return rx.el.li(
        rx.el.div(
            rx.cond(
                row.duration_s != "",
                rx.el.div(
                    player(row.clip_id, duration_s=row.duration_s, peaks=row.peaks, label=row.reference),
                    class_name="w-full max-w-[420px]",
                ),
                rx.fragment(),
            ),
            verdict_badge(row),
            class_name="flex flex-wrap items-center justify-between gap-x-4 gap-y-2 mb-3",
        ),
        rx.el.dl(
            rx.cond(
                row.sounds.length() > 0,
                rx.fragment(_line("Text", rx.el.span(row.reference)), rx.foreach(row.sounds, _sound)),
                rx.cond(row.timeline.speakers.length() > 0, _timeline(row), _outputs(row)),
            ),
            class_name="m-0 grid grid-cols-[5.5rem_1fr] gap-x-3 gap-y-1.5 text-[13px]",
        ),
        class_name="py-4 border-b border-border last:border-0",
    )


def verdict_badge(row: Any) -> rx.Component:
    """How right an output is."""
    return rx.cond(
        row.is_right,
        badge(row.verdict, icon="check", tone="success"),
        rx.cond(
            row.sounds.length() > 0,
            badge(row.verdict, icon="audio-lines", tone="neutral"),
            badge(row.verdict, icon="ear", tone="warning"),
        ),
    )


def output_of(row: Any) -> rx.Component:
    """What the model makes of a clip now: words, classes, turns of speakers, or a sound."""
    turns = rx.fragment(timeline_line(row.timeline.now), timeline_axis(row.timeline.end))
    words = rx.cond(row.classes.length() > 0, _classes(row.classes), _words(row.now))
    heard = rx.cond(row.timeline.speakers.length() > 0, turns, words)
    return rx.cond(row.sounds.length() > 0, rx.foreach(row.sounds, _sound_alone), heard)


def _sound_alone(sound: Any) -> rx.Component:
    made = made_player(sound.src, duration_s=sound.seconds, peaks=sound.peaks, label=sound.label)
    return rx.el.div(
        rx.el.span(sound.name, class_name="text-xs text-muted-foreground"), made, class_name="max-w-[420px]"
    )


def _outputs(row: Any) -> rx.Component:
    return rx.fragment(
        _line("Reference", rx.el.span(row.reference)),
        rx.cond(row.has_base, _line("Base", _words(row.base)), rx.fragment()),
        _line("Now", rx.cond(row.classes.length() > 0, _classes(row.classes), _words(row.now))),
    )


def _timeline(row: Any) -> rx.Component:
    shown = row.timeline
    return rx.fragment(
        _line("Speakers", timeline_speakers(shown.speakers)),
        _line("Reference", timeline_line(shown.reference)),
        rx.cond(row.has_base, _line("Base", timeline_line(shown.base)), rx.fragment()),
        _line("Now", rx.fragment(timeline_line(shown.now), timeline_axis(shown.end))),
    )


def _sound(sound: Any) -> rx.Component:
    made = made_player(sound.src, duration_s=sound.seconds, peaks=sound.peaks, label=sound.label)
    return _line(sound.name, rx.el.div(made, class_name="w-full max-w-[420px]"))


def sound_legend() -> rx.Component:
    """What is to be heard."""
    return rx.el.span("Above each text its recording, below what the model makes of it, always at one seed")


def legend() -> rx.Component:
    """What the marks mean."""
    return rx.el.span(
        rx.el.span("wrong", class_name=_WRONG),
        " heard wrongly, ",
        rx.el.span("missing", class_name=_MISSING),
        " not heard",
    )


def class_legend() -> rx.Component:
    """What the bars mean."""
    return rx.el.span("The likeliest classes and how sure the model is of each")


def speaker_legend() -> rx.Component:
    """What the bars mean."""
    return rx.el.span("Each bar is a turn. Answers have the colour of the speaker they share most time with")


def _line(name: str, content: rx.Component) -> rx.Component:
    return rx.fragment(
        rx.el.dt(name, class_name="text-muted-foreground"),
        rx.el.dd(content, class_name="m-0 min-w-0 break-words"),
    )


def _words(words: Any) -> rx.Component:
    return rx.el.span(rx.foreach(words, _word))


def _word(word: Any) -> rx.Component:
    return rx.el.span(
        rx.el.span(word.text, class_name=rx.match(word.kind, ("wrong", _WRONG), ("missing", _MISSING), "")),
        " ",
    )


def _classes(classes: Any) -> rx.Component:
    return rx.el.ul(rx.foreach(classes, _class), class_name="list-none m-0 p-0 grid gap-1 max-w-[420px]")


def _class(row: Any) -> rx.Component:
    bar = rx.el.span(
        style={"width": row.share.replace("\u00a0", "")},
        class_name=rx.cond(row.is_right, "block h-full bg-success", "block h-full bg-chart-1"),
    )
    return rx.el.li(
        rx.el.span(
            row.label, class_name=rx.cond(row.is_right, "truncate font-medium", "truncate"), title=row.label
        ),
        rx.el.span(bar, class_name="h-1.5 rounded-full bg-muted overflow-hidden", aria_hidden="true"),
        rx.el.span(row.share, class_name="tabular text-right text-muted-foreground"),
        class_name="grid grid-cols-[8rem_1fr_3rem] gap-2 items-center",
    )
