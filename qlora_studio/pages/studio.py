"""Describe a sound, have takes of it made, hear and rate them."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, link_button
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.forms import field, number_field, select_field, slider_field
from qlora_studio.components.shell import studio_page
from qlora_studio.components.surfaces import card, notice, page_header
from qlora_studio.components.takes import TakeKeys
from qlora_studio.contracts.inference import MAX_PROMPT
from qlora_studio.pages.studio_takes import takes_list
from qlora_studio.pages.studio_templates import CHIP, own_templates
from qlora_studio.state.studio import StudioState
from qlora_studio.state.takes import TakesState


@studio_page(
    "/studio", title="Studio", section="studio", on_load=[StudioState.load, TakesState.load], wide=True
)
def studio() -> rx.Component:
    """The editor at the left, takes at the right."""
    return rx.fragment(
        page_header("Studio", "Describe a sound, hear takes of it, and say which are good."),
        TakeKeys.create(
            rx.el.div(
                rx.el.div(_editor(), class_name="min-w-0 lg:sticky lg:top-4"),
                rx.el.div(takes_list(), class_name="min-w-0"),
                class_name="grid grid-cols-1 lg:grid-cols-[380px_minmax(0,1fr)] gap-5 items-start",
            )
        ),
    )


def _editor() -> rx.Component:
    state = StudioState
    return rx.cond(
        ~state.is_loaded,
        card(skeleton("h-96 w-full")),
        rx.cond(
            ~state.may_make,
            card(
                notice(
                    rx.cond(
                        state.may_rate,
                        "Your role can listen and rate, but not generate. Ask an admin for more.",
                        "Your role can listen, but neither rate nor generate. Ask an admin for more.",
                    ),
                    icon="lock",
                )
            ),
            rx.cond(state.models.length() > 0, card(_fields()), card(_no_model())),
        ),
    )


def _no_model() -> rx.Component:
    return rx.el.div(
        empty_state(
            "No model that makes sound",
            "Begin with the small one that comes with the studio: drums, plucked and struck tones, noise. "
            "Or add a text-to-audio model, such as MusicGen.",
            button(
                "Add the starter sound model",
                icon="sparkles",
                variant="primary",
                loading=StudioState.is_sending,
                on_click=StudioState.add_starter,
            ),
            link_button("Add another model", href="/models/new", icon="plus"),
            icon="wand-sparkles",
        )
    )


def _fields() -> rx.Component:
    state = StudioState
    return rx.el.div(
        _prompt(),
        select_field(
            "Model",
            name="studio-model",
            options=state.models,
            value=state.model_id,
            on_change=state.choose_model,
        ),
        rx.cond(
            state.adapters.length() > 0,
            select_field(
                "Adapter",
                name="studio-adapter",
                options=state.adapters,
                value=state.adapter_id,
                on_change=state.choose_adapter,
                first=rx.el.option("Base model alone", value=""),
            ),
            rx.fragment(),
        ),
        rx.cond(
            state.adapter_id != "",
            _slider("Strength", "strength", ("0", "2"), step="0.05", unit="×"),
            rx.fragment(),
        ),
        _slider("Length", "seconds", ("1", state.most_seconds), step="1", unit="s"),
        _slider("Takes", "n_takes", ("1", "16"), step="1"),
        rx.cond(
            state.is_steered,
            rx.fragment(
                _slider("Guidance", "guidance", ("1", "20"), step="0.5"),
                _slider("Temperature", "temperature", ("0.1", "2"), step="0.1"),
            ),
            rx.fragment(),
        ),
        _seed(),
        rx.cond(
            state.refusal != "", notice(state.refusal, tone="danger", icon="circle-alert"), rx.fragment()
        ),
        button(
            "Generate",
            icon="wand-sparkles",
            variant="primary",
            loading=state.is_sending,
            on_click=state.generate,
            data_generate="",
            title="Ctrl or Cmd and Enter",
        ),
        class_name="flex flex-col gap-4",
    )


def _prompt() -> rx.Component:
    state = StudioState
    text = rx.debounce_input(
        rx.el.textarea(
            id="studio-prompt",
            rows="4",
            max_length=MAX_PROMPT,
            value=state.prompt,
            on_change=state.write,
            placeholder="A slow piano melody over soft rain",
            class_name="w-full rounded-lg border border-border-strong/60 bg-card px-3 py-2 text-sm hover:border-border-strong placeholder:text-muted-foreground/80",
        ),
        debounce_timeout=250,
    )
    templates = rx.foreach(
        state.templates,
        lambda item: rx.el.button(
            item[0], type="button", title=item[1], on_click=state.write(item[1]), class_name=CHIP
        ),
    )
    return rx.el.div(
        field("Sound", text, name="studio-prompt"),
        rx.el.div(templates, role="group", aria_label="Examples", class_name="flex flex-wrap gap-1.5"),
        own_templates(),
        rx.cond(
            state.recent.length() > 0,
            rx.el.details(
                rx.el.summary("Used lately", class_name="text-xs text-muted-foreground cursor-pointer"),
                rx.el.div(
                    rx.foreach(
                        state.recent,
                        lambda text: rx.el.button(
                            text, type="button", title=text, on_click=state.write(text), class_name=CHIP
                        ),
                    ),
                    class_name="flex flex-wrap gap-1.5 mt-2",
                ),
            ),
            rx.fragment(),
        ),
        class_name="flex flex-col gap-2.5",
    )


def _slider(label: str, name: str, bounds: tuple[Any, Any], *, step: str, unit: str = "") -> rx.Component:
    return rx.el.div(
        slider_field(
            label,
            name=f"studio-{name}",
            unit=unit,
            min=bounds[0],
            max=bounds[1],
            step=step,
            value=getattr(StudioState, name),
            on_change=lambda value: StudioState.set_number(name, value),
            error="",
        ),
        class_name="[&_label]:sm:w-24",
    )


def _seed() -> rx.Component:
    state = StudioState
    return rx.el.div(
        number_field(
            "Seed",
            name="studio-seed",
            step="1",
            min="0",
            key=state.seed,
            default_value=state.seed,
            on_blur=state.set_seed,
            placeholder="drawn each time",
        ),
        rx.el.label(
            rx.el.input(
                type="checkbox",
                checked=state.is_seed_locked,
                on_change=state.lock_seed,
                class_name="h-4 w-4 accent-[var(--primary)]",
            ),
            "Keep",
            class_name="flex items-center gap-2 h-9 text-[13px] cursor-pointer",
        ),
        class_name="grid grid-cols-[1fr_auto] items-end gap-3",
    )
