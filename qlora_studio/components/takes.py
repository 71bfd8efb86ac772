"""A take to hear and to rate, and the keys that drive a list of them."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, icon_button, plain_link
from qlora_studio.components.player import CustomElement, made_player

_STARS = (1, 2, 3, 4, 5)
_KEYS = (
    ("Space", "play or pause"),
    ("J  K", "next, previous take"),
    ("1 … 5", "give stars"),
    ("F", "favourite, or no longer"),
    ("T", "write tags"),
    ("N", "write a note"),
    ("Esc", "back to the take"),
    ("← →", "back, on"),
    ("L", "play again and again"),
    ("B", "change to the same seed made otherwise"),
    ("Ctrl Enter", "generate"),
    ("?", "show these keys"),
)
_FIELD = (
    "h-8 w-full rounded-lg border border-border-strong/60 hover:border-border-strong bg-card px-2.5 "
    "text-[13px] placeholder:text-muted-foreground disabled:opacity-60"
)


class TakeKeys(CustomElement):
    """The custom element of `assets/js/take_keys.js`."""

    tag = "TakeKeys"
    _script = "take_keys.js"


def key_help() -> rx.Component:
    """A popover that names the keys."""
    rows = [
        rx.el.div(
            rx.el.dt(rx.el.kbd(key, class_name="kbd whitespace-pre"), class_name="w-24 shrink-0"),
            rx.el.dd(text, class_name="m-0 text-muted-foreground"),
            class_name="flex items-center gap-3",
        )
        for key, text in _KEYS
    ]
    return rx.popover.root(
        rx.popover.trigger(
            button("Keys", icon="keyboard", size="sm", variant="ghost", data_key_help="", title="Keys (?)")
        ),
        rx.popover.content(
            rx.el.dl(*rows, class_name="m-0 flex flex-col gap-2 text-[13px]"),
            aria_label="Keys",
            class_name="max-w-[calc(100vw-24px)] max-h-[calc(100dvh-24px)] overflow-y-auto",
        ),
    )


def take_card(take: Any, state: Any, *, about: Any, may_rate: Any) -> rx.Component:
    """One take: its sound, stars by the chosen criterion, tags and a note.

    Args:
        state: has `rate`, `set_tags`, `set_note`, `take_back`, `like` and `saved_id`.
        about: the text that it was made of, for screen readers.
        may_rate: whether who looks at it may say what they think.
    """
    label = take.name + rx.Var.create(" of ") + about
    return rx.el.article(
        rx.el.div(
            rx.el.span(take.name, class_name="text-[13px] font-medium shrink-0"),
            rx.el.span("seed ", take.seed, class_name="text-xs text-muted-foreground tabular truncate"),
            rx.el.span(
                rx.cond(take.mean != "", rx.fragment("mean ", take.mean), ""),
                class_name="text-xs text-muted-foreground tabular ml-auto",
            ),
            rx.cond(
                take.twin != "",
                button(
                    "A/B",
                    size="sm",
                    variant="ghost",
                    data_change="",
                    title="Hear the same seed made otherwise",
                ),
                rx.fragment(),
            ),
            _heart(take, state, label),
            plain_link(
                rx.icon("download", size=15, aria_hidden="true"),
                href=take.url,
                download="",
                title="Download",
                aria_label=rx.Var.create("Download ") + label,
                class_name="grid place-items-center h-8 w-8 rounded-lg text-muted-foreground hover:bg-muted hover:text-foreground",
            ),
            class_name="flex items-center gap-2 min-h-8",
        ),
        made_player(take.url, duration_s=take.seconds, peaks=take.peaks, label=label),
        rx.cond(
            may_rate,
            rx.fragment(
                rx.el.div(
                    _stars(take, state, label),
                    rx.cond(
                        state.saved_id == take.id,
                        rx.el.span(
                            rx.icon("check", size=14, aria_hidden="true"),
                            "Saved",
                            role="status",
                            class_name="flex items-center gap-1 text-xs text-success rise-in",
                        ),
                        rx.fragment(),
                    ),
                    rx.cond(
                        (take.stars > 0) | (take.tags != "") | (take.note != ""),
                        rx.fragment(),
                        button(
                            "Tags, note",
                            icon="tag",
                            size="sm",
                            variant="ghost",
                            data_open_words="",
                            class_name="ml-auto !text-muted-foreground",
                        ),
                    ),
                    class_name="flex items-center gap-2 min-h-8",
                ),
                _words(take, state, label),
            ),
            rx.fragment(),
        ),
        data_take=take.id,
        data_twin=take.twin,
        tab_index=-1,
        aria_label=label,
        class_name="rounded-[10px] border border-border bg-card p-3 flex flex-col gap-2 min-w-0",
    )


def _heart(take: Any, state: Any, label: Any) -> rx.Component:
    return rx.el.button(
        rx.icon(
            "heart",
            size=16,
            class_name=rx.cond(take.is_liked, "fill-current text-danger", ""),
            aria_hidden="true",
        ),
        type="button",
        data_like="",
        aria_pressed=take.is_liked,
        aria_label=rx.Var.create("Favourite: ") + label,
        title="Favourite (F)",
        on_click=state.like(take.id, ~take.is_liked),
        class_name="grid place-items-center h-8 w-8 rounded-lg text-muted-foreground hover:bg-muted hover:text-foreground cursor-pointer",
    )


def _stars(take: Any, state: Any, label: Any) -> rx.Component:
    def star(n: int) -> rx.Component:
        return rx.el.button(
            rx.icon(
                "star",
                size=19,
                class_name=rx.cond(take.stars >= n, "fill-current text-warning", "text-muted-foreground"),
                aria_hidden="true",
            ),
            type="button",
            data_stars=str(n),
            aria_pressed=take.stars == n,
            aria_label=rx.Var.create(f"{n} of 5 stars for ") + label,
            on_click=state.rate(take.id, n),
            class_name="grid place-items-center h-8 w-7 rounded-lg hover:bg-muted cursor-pointer",
        )

    return rx.el.div(
        *(star(n) for n in _STARS),
        rx.cond(
            take.stars > 0,
            icon_button(
                "eraser",
                rx.Var.create("Take the stars back from ") + label,
                on_click=state.take_back(take.id),
            ),
            rx.fragment(),
        ),
        role="group",
        aria_label="Stars",
        class_name="flex items-center -ml-1.5",
    )


def _words(take: Any, state: Any, label: Any) -> rx.Component:
    def line(name: str, placeholder: str, value: Any, on_blur: Any) -> rx.Component:
        return rx.el.input(
            type="text",
            default_value=value,
            placeholder=placeholder,
            on_blur=on_blur,
            data_write=name,
            aria_label=rx.Var.create(f"{placeholder}: ") + label,
            class_name=_FIELD,
        )

    return rx.el.div(
        line("tags", "Tags, with commas", take.tags, lambda text: state.set_tags(take.id, text)),
        line("note", "Note", take.note, lambda text: state.set_note(take.id, text)),
        rx.cond(
            take.stars > 0,
            rx.fragment(),
            rx.el.p("Kept with your stars.", class_name="text-xs text-muted-foreground 2xl:col-span-2"),
        ),
        key=take.id,
        data_words=rx.cond((take.stars > 0) | (take.tags != "") | (take.note != ""), "there", "none"),
        class_name="grid grid-cols-1 2xl:grid-cols-2 gap-2",
    )
