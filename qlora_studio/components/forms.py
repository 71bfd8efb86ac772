"""Form fields: label above, help below, error in place."""

from collections.abc import Sequence
from typing import Any

import reflex as rx

_CONTROL = (
    "w-full rounded-lg border border-border-strong/60 bg-card text-foreground px-3 text-sm "
    "placeholder:text-muted-foreground/80 transition-colors duration-150 hover:border-border-strong "
    "aria-[invalid=true]:border-danger disabled:opacity-60 disabled:cursor-not-allowed "
)


def field(
    label: Any, control: rx.Component, *, name: str, help: Any = None, error: Any = "", optional: bool = False
) -> rx.Component:
    """A labelled control.

    Args:
        name: the control's id; the error's id is `<name>-error` and the help's `<name>-help`.
        error: a sentence (or Var); shown when it is not empty.
    """
    return rx.el.div(
        rx.el.label(
            label,
            *(
                [rx.el.span(" (optional)", class_name="text-muted-foreground font-normal")]
                if optional
                else []
            ),
            html_for=name,
            class_name="text-[13px] font-medium",
        ),
        control,
        *(
            [rx.el.p(help, id=f"{name}-help", class_name="text-xs text-muted-foreground")]
            if help is not None
            else []
        ),
        error_text(name, error),
        class_name="flex flex-col gap-1.5 min-w-0",
    )


def error_text(name: Any, error: Any) -> rx.Component:
    """The sentence under a field, read out when it appears."""
    line = rx.el.p(
        rx.icon("circle-alert", size=13, class_name="shrink-0", aria_hidden="true"),
        rx.el.span(error),
        id=name + "-error",
        role="alert",
        class_name="flex items-center gap-1.5 text-xs text-danger",
    )
    if isinstance(error, rx.Var):
        return rx.cond(error != "", line, rx.fragment())
    return line if error else rx.fragment()


def _described(name: Any, error: Any) -> dict[str, Any]:
    invalid = (error != "") if isinstance(error, rx.Var) else bool(error)
    described = {
        "aria_describedby": name + "-error " + name + "-help",
        "aria_invalid": invalid,
        "id": name,
        "name": name,
    }
    if isinstance(invalid, bool):
        described["aria_invalid"] = "true" if invalid else "false"
    return described


def text_field(
    label: Any,
    *,
    name: str,
    help: Any = None,
    error: Any = "",
    optional: bool = False,
    type: str = "text",
    **props: Any,
) -> rx.Component:
    """A one-line input with its label. `on_change` should be debounced by the handler's own event action."""
    control = text_input(name=name, error=error, type=type, **props)
    return field(label, control, name=name, help=help, error=error, optional=optional)


def text_input(*, name: Any, error: Any = "", type: str = "text", **props: Any) -> rx.Component:
    """The input of `text_field` without a label; give it an `aria_label`."""
    return rx.el.input(type=type, class_name=_CONTROL + "h-9", **_described(name, error), **props)


def number_field(
    label: Any, *, name: str, help: Any = None, error: Any = "", unit: str | None = None, **props: Any
) -> rx.Component:
    """A number, right where it is typed; `step`, `min` and `max` as in HTML."""
    props.setdefault("step", "any")
    control = rx.el.input(
        type="number",
        input_mode="decimal",
        class_name=_CONTROL + "h-9 tabular" + (" pr-12" if unit else ""),
        **_described(name, error),
        **props,
    )
    if unit:
        control = rx.el.div(
            control,
            rx.el.span(
                unit,
                class_name="absolute right-3 top-2 text-xs leading-5 text-muted-foreground pointer-events-none",
            ),
            class_name="relative",
        )
    return field(label, control, name=name, help=help, error=error)


def compact_number(label: Any, *, name: Any, unit: Any, hint: Any, error: Any, **props: Any) -> rx.Component:
    """A number in a line with its label and its unit; `hint` says its bounds."""
    props.setdefault("step", "any")
    return rx.el.div(
        rx.el.label(
            rx.el.span(label, class_name="text-xs text-muted-foreground"),
            rx.el.input(
                type="number",
                input_mode="decimal",
                name=name,
                title=hint,
                aria_invalid=error != "",
                class_name=_CONTROL + "!w-[84px] h-8 !px-2 tabular text-right",
                **props,
            ),
            rx.el.span(unit, class_name="text-xs text-muted-foreground"),
            class_name="flex flex-wrap items-center gap-2",
        ),
        error_text(name, error),
        class_name="min-w-0",
    )


def textarea_field(
    label: Any,
    *,
    name: str,
    help: Any = None,
    error: Any = "",
    optional: bool = False,
    rows: int = 3,
    **props: Any,
) -> rx.Component:
    """A text of several lines."""
    control = rx.el.textarea(rows=str(rows), class_name=_CONTROL + "py-2", **_described(name, error), **props)
    return field(label, control, name=name, help=help, error=error, optional=optional)


def select_field(
    label: Any,
    *,
    name: str,
    options: Sequence[tuple[str, str]] | Any,
    help: Any = None,
    error: Any = "",
    **props: Any,
) -> rx.Component:
    """A native select. `options` are (value, label) pairs, or a Var of a list of `[value, label]` lists."""
    return field(
        label,
        select_input(name=name, options=options, error=error, **props),
        name=name,
        help=help,
        error=error,
    )


def select_input(
    *,
    name: Any,
    options: Sequence[tuple[str, str]] | Any,
    error: Any = "",
    class_name: str = "",
    first: Any = None,
    **props: Any,
) -> rx.Component:
    """The select of `select_field` without a label; give it an `aria_label`. `first` is an option before all."""
    if isinstance(options, rx.Var):
        items = rx.foreach(options, lambda option: rx.el.option(option[1], value=option[0]))
    else:
        items = rx.fragment(*(rx.el.option(text, value=value) for value, text in options))
    return rx.el.div(
        rx.el.select(
            *([first] if first is not None else []),
            items,
            class_name=_CONTROL + f"h-9 appearance-none pr-9 {class_name}",
            **_described(name, error),
            **props,
        ),
        rx.icon(
            "chevrons-up-down",
            size=14,
            class_name="absolute right-3 top-2.5 text-muted-foreground pointer-events-none",
            aria_hidden="true",
        ),
        class_name="relative",
    )


def search_input(
    label: str, *, value: Any, on_change: Any, placeholder: str, class_name: str = ""
) -> rx.Component:
    """A search box; `on_change` gets the text once typing has paused."""
    return rx.el.div(
        rx.icon(
            "search",
            size=15,
            class_name="absolute left-3 top-2.5 text-muted-foreground pointer-events-none",
            aria_hidden="true",
        ),
        rx.debounce_input(
            rx.el.input(
                type="search",
                value=value,
                on_change=on_change,
                placeholder=placeholder,
                aria_label=label,
                class_name="h-9 w-full rounded-lg border border-border-strong/60 hover:border-border-strong bg-card pl-9 pr-3 text-sm placeholder:text-muted-foreground",
            ),
            debounce_timeout=300,
        ),
        class_name=f"relative w-full sm:w-72 {class_name}",
    )


def checkbox_field(label: Any, *, name: str, help: Any = None, **props: Any) -> rx.Component:
    """A checkbox with its label at the right."""
    return rx.el.label(
        rx.el.input(
            type="checkbox",
            id=name,
            name=name,
            class_name="mt-0.5 h-4 w-4 accent-[var(--primary)] shrink-0",
            **props,
        ),
        rx.el.span(
            rx.el.span(label, class_name="text-[13px] font-medium block"),
            *(
                [rx.el.span(help, class_name="text-xs text-muted-foreground block")]
                if help is not None
                else []
            ),
        ),
        html_for=name,
        class_name="flex items-start gap-2.5 cursor-pointer",
    )


def switch_field(label: Any, *, name: str, help: Any, checked: Any, on_change: Any) -> rx.Component:
    """A switch with its label and a sentence; it acts at once."""
    return rx.el.label(
        rx.el.span(
            rx.el.span(label, class_name="text-[15px] font-semibold block leading-6"),
            rx.el.span(help, id=f"{name}-help", class_name="text-[13px] text-muted-foreground block"),
            class_name="min-w-0",
        ),
        rx.el.input(
            type="checkbox",
            role="switch",
            id=name,
            checked=checked,
            on_change=on_change,
            aria_label=label,
            aria_describedby=f"{name}-help",
            class_name="switch shrink-0",
        ),
        html_for=name,
        class_name="flex items-start justify-between gap-4 cursor-pointer",
    )


def slider_field(
    label: Any, *, name: str, unit: str, min: str, max: str, step: str, value: Any, on_change: Any, error: Any
) -> rx.Component:
    """A number to drag or to type; both say the same. `on_change` gets text once the hand has paused."""
    same = {"min": min, "max": max, "step": step}
    return rx.el.div(
        rx.el.label(label, html_for=name, class_name="text-[13px] sm:w-48 shrink-0"),
        rx.el.div(
            rx.debounce_input(
                rx.el.input(
                    type="range",
                    value=value,
                    on_change=on_change,
                    aria_label=label,
                    class_name="slider flex-1 min-w-0",
                    style={"--at": value, "--from": min, "--to": max},
                    **same,
                ),
                debounce_timeout=150,
            ),
            rx.debounce_input(
                rx.el.input(
                    type="text",
                    input_mode="decimal",
                    value=value,
                    on_change=on_change,
                    class_name=_CONTROL + "!w-[72px] h-8 !px-2 tabular text-right",
                    **_described(name, error),
                ),
                debounce_timeout=400,
            ),
            rx.el.span(unit, class_name="w-6 text-xs text-muted-foreground"),
            class_name="flex items-center gap-2 flex-1 min-w-0",
        ),
        error_text(name, error),
        class_name="flex flex-col sm:flex-row sm:flex-wrap sm:items-center gap-x-3 gap-y-1 min-w-0",
    )


def choice_card(
    title: Any, text: Any, *, icon: str, selected: Any, on_select: Any, **props: Any
) -> rx.Component:
    """One of a few big choices, as a pressed button."""
    base = "text-left w-full flex gap-3 items-start rounded-[10px] border p-4 cursor-pointer transition-colors duration-150 "
    on, off = (
        base + "border-primary bg-primary-soft",
        base + "border-border bg-card hover:border-border-strong",
    )
    return rx.el.button(
        rx.icon(icon, size=18, class_name="mt-0.5 shrink-0 text-primary-text", aria_hidden="true"),
        rx.el.span(
            rx.el.span(title, class_name="font-medium block"),
            rx.el.span(text, class_name="text-[13px] text-muted-foreground block mt-0.5"),
            class_name="min-w-0",
        ),
        type="button",
        aria_pressed=selected,
        on_click=on_select,
        class_name=rx.cond(selected, on, off) if isinstance(selected, rx.Var) else (on if selected else off),
        **props,
    )


def form_section(title: Any, description: Any, *children: Any) -> rx.Component:
    """A titled group of fields, two to a row where there is room."""
    return rx.el.fieldset(
        rx.el.legend(title, class_name="text-[15px] font-semibold"),
        rx.el.p(description, class_name="text-[13px] text-muted-foreground mt-0.5 mb-4"),
        rx.el.div(*children, class_name="grid grid-cols-1 sm:grid-cols-2 gap-x-5 gap-y-4"),
        class_name="min-w-0",
    )
