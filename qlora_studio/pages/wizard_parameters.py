"""The wizard's third step: six parameters, or all of them."""

from collections.abc import Sequence
from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button
from qlora_studio.components.forms import (
    checkbox_field,
    error_text,
    form_section,
    select_field,
    text_field,
)
from qlora_studio.components.surfaces import card
from qlora_studio.pages.wizard_sweep import sweep_card
from qlora_studio.state.wizard import WizardState, control_id
from qlora_studio.state.wizard_fields import (
    ADAPTER,
    AFTER,
    AFTER_CONDITION,
    BASIC,
    EVALUATION,
    OPTIMIZATION,
    PREFERENCE,
    START,
    TRAINING_TYPE,
    Parameter,
)

_TYPED_PAUSE_MS = 400
_TARGETS = "qlora.target_modules"
_DEVICES = "optimization.devices"
_LEARNS_PREFERENCES = WizardState.values.get(TRAINING_TYPE.name, "") == "preference"


def parameters_step() -> rx.Component:
    """Name, the six that matter, and behind a switch everything else."""
    state = WizardState
    return rx.fragment(
        card(
            rx.el.div(_name(), class_name="mb-6"),
            form_section(
                "Parameters",
                "Preset for this family of models; each can be changed.",
                rx.cond(state.is_expert | (state.pairs != ""), _training_type(), rx.fragment()),
                *(_control(parameter) for parameter in BASIC),
            ),
            rx.cond(state.is_picking_layers, _layers(), rx.fragment()),
            rx.el.div(
                rx.cond(state.reasons.length() > 0, _reasons(), rx.fragment()),
                rx.cond(_LEARNS_PREFERENCES, rx.fragment(), _find_rate()),
                class_name="mt-5 flex flex-wrap items-start justify-between gap-4",
            ),
            title="What to learn, and how long",
            actions=_switches(),
        ),
        sweep_card(),
        rx.cond((state.befores.length() > 1) | (state.starts.length() > 1), _start(), rx.fragment()),
        rx.cond(
            state.is_expert,
            rx.fragment(
                rx.cond(
                    _LEARNS_PREFERENCES,
                    _group("Preference", "How the pairs are learnt from.", PREFERENCE),
                    rx.fragment(),
                ),
                _group("Adapter", "How the base is stored and how the adapter sits on it.", ADAPTER),
                _group("Optimisation", "How the adapter's weights move.", OPTIMIZATION),
                _group("Evaluation", "How often the held-out clips are looked at.", EVALUATION),
            ),
            rx.fragment(),
        ),
    )


def _start() -> rx.Component:
    """What the job starts from and waits for; shown where there is a choice."""
    state = WizardState
    before = state.values.get(AFTER.name, "")

    def choice(parameter: Parameter, options: Any) -> rx.Component:
        return select_field(
            parameter.label,
            name=control_id(parameter.name),
            options=options,
            value=state.values.get(parameter.name, ""),
            help=parameter.help,
            error=state.field_errors.get(parameter.name, ""),
            on_change=lambda text: state.set_value(parameter.name, text),
        )

    return card(
        rx.el.div(
            rx.cond(state.starts.length() > 1, choice(START, state.starts), rx.fragment()),
            rx.cond(state.befores.length() > 1, choice(AFTER, state.befores), rx.fragment()),
            rx.cond(before != "", choice(AFTER_CONDITION, AFTER_CONDITION.options), rx.fragment()),
            class_name="grid grid-cols-1 sm:grid-cols-2 gap-x-5 gap-y-4",
        ),
        title="From where, and when",
        class_name="mt-4",
    )


def _reasons() -> rx.Component:
    """Why the presets are what they are, for this model and this dataset."""
    return rx.el.details(
        rx.el.summary("Why these presets", class_name="cursor-pointer text-[13px] font-medium"),
        rx.el.ul(
            rx.foreach(WizardState.reasons, rx.el.li),
            class_name="mt-2 mb-0 pl-4 list-disc text-[13px] text-muted-foreground",
        ),
    )


def _find_rate() -> rx.Component:
    """A job of its own that tries rates; the draft stays as it is."""
    return rx.el.div(
        button(
            "Find a learning rate",
            icon="activity",
            size="sm",
            loading=WizardState.is_sending,
            on_click=WizardState.find_rate,
        ),
        rx.el.p(
            "A job of up to 100 steps at rising rates names the one at which the loss falls fastest.",
            class_name="text-xs text-muted-foreground mt-1.5 max-w-[38ch]",
        ),
    )


def _switches() -> rx.Component:
    state = WizardState
    restore = button("Presets", icon="rotate-ccw", size="sm", on_click=state.restore_presets)
    return rx.fragment(
        rx.cond(state.is_touched, restore, rx.fragment()),
        rx.cond(
            state.is_expert,
            button("Basic", icon="list", size="sm", on_click=state.show_expert(False)),
            button("Expert", icon="sliders-horizontal", size="sm", on_click=state.show_expert(True)),
        ),
    )


def _group(title: str, description: str, parameters: Sequence[Parameter]) -> rx.Component:
    return card(
        form_section(title, description, *(_control(parameter) for parameter in parameters)),
        class_name="mt-4",
    )


def _name() -> rx.Component:
    state = WizardState
    field = text_field(
        "Name of the job and its adapter",
        name="name",
        default_value=state.name,
        max_length=120,
        auto_complete="off",
        on_change=state.set_name.debounce(_TYPED_PAUSE_MS),
        on_blur=state.set_name,
        error=state.field_errors.get("name", ""),
    )
    return rx.fragment(field, key=state.form_key)


def _training_type() -> rx.Component:
    """What is offered depends on the dataset, which the help says of the one kind that may be missing."""
    state = WizardState
    return select_field(
        TRAINING_TYPE.label,
        name=control_id(TRAINING_TYPE.name),
        options=state.training_types,
        value=state.values.get(TRAINING_TYPE.name, ""),
        help=rx.cond(
            state.pairs != "", rx.fragment(TRAINING_TYPE.help, " ", state.pairs), TRAINING_TYPE.help
        ),
        error=state.field_errors.get(TRAINING_TYPE.name, ""),
        on_change=lambda text: state.set_value(TRAINING_TYPE.name, text),
    )


def _control(parameter: Parameter) -> rx.Component:
    if parameter.name == _TARGETS:
        return _targets(parameter)
    if parameter.name == _DEVICES:
        has_choice = (WizardState.most_devices > 1) | (WizardState.values.get(_DEVICES, "1") != "1")
        help_text = rx.fragment(parameter.help, " 1 to ", WizardState.most_devices, ".")
        return rx.cond(has_choice, _typed(parameter, help_text), rx.fragment())
    value = WizardState.values.get(parameter.name, "")
    common: dict[str, Any] = {"name": control_id(parameter.name), "help": _help(parameter)}
    if parameter.kind == "switch":
        return checkbox_field(
            parameter.label,
            checked=value == "true",
            on_change=lambda is_on: WizardState.set_switch(parameter.name, is_on),
            **common,
        )
    if parameter.kind == "choice":
        return select_field(
            parameter.label,
            options=parameter.options or WizardState.metrics,
            value=value,
            error=WizardState.field_errors.get(parameter.name, ""),
            on_change=lambda text: WizardState.set_value(parameter.name, text),
            **common,
        )
    return _typed(parameter, _help(parameter))


def _typed(parameter: Parameter, help_text: Any) -> rx.Component:
    """A text input: one of type number sends 0 for what is empty or half typed."""
    typed = text_field(
        parameter.label,
        name=control_id(parameter.name),
        help=help_text,
        default_value=WizardState.values.get(parameter.name, ""),
        error=WizardState.field_errors.get(parameter.name, ""),
        input_mode="decimal",
        auto_complete="off",
        on_change=lambda text: WizardState.set_value.debounce(_TYPED_PAUSE_MS)(parameter.name, text),
        on_blur=lambda text: WizardState.set_value(parameter.name, text),
    )
    return rx.fragment(typed, key=WizardState.form_key + parameter.name)


def _help(parameter: Parameter) -> str:
    return f"{parameter.help} {parameter.bounds}".strip()


def _targets(parameter: Parameter) -> rx.Component:
    state = WizardState
    chosen = state.values.get(_TARGETS, "")
    meant = state.preset_layers.get(chosen, "")
    help_text = rx.cond(
        state.is_picking_layers | (meant == ""), parameter.help, rx.fragment("Carried by ", meant, ".")
    )
    return select_field(
        parameter.label,
        name=control_id(_TARGETS),
        options=state.targets,
        value=rx.cond(state.is_picking_layers, "pick", chosen),
        help=help_text,
        error=rx.cond(state.is_picking_layers, "", state.field_errors.get(_TARGETS, "")),
        on_change=state.set_targets,
    )


def _layers() -> rx.Component:
    """The model's own layers, to be picked one by one."""
    state = WizardState

    def layer(name: rx.Var[str]) -> rx.Component:
        is_on = state.picked_layers.contains(name)
        base = "inline-flex items-center gap-1.5 h-8 px-2.5 rounded-lg border text-[13px] cursor-pointer "
        return rx.el.button(
            rx.icon("check", size=13, class_name=rx.cond(is_on, "", "invisible"), aria_hidden="true"),
            rx.el.code(name),
            type="button",
            aria_pressed=is_on,
            on_click=state.toggle_layer(name),
            class_name=rx.cond(
                is_on,
                base + "border-primary bg-primary-soft text-primary-text",
                base + "border-border bg-card hover:border-border-strong",
            ),
        )

    return rx.el.fieldset(
        rx.el.legend("Layers of this model", class_name="text-[13px] font-medium mb-2"),
        rx.el.div(rx.foreach(state.layers, layer), class_name="flex flex-wrap gap-2"),
        rx.el.div(error_text("picked-layers", state.field_errors.get(_TARGETS, "")), class_name="mt-2"),
        class_name="mt-5",
    )
