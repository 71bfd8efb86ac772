"""The form that sets a listening test up: who, by which texts, for whom, and until when."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, icon_button, link_button
from qlora_studio.components.feedback import empty_state, loading_switch, skeleton
from qlora_studio.components.forms import (
    error_text,
    form_section,
    number_field,
    select_field,
    select_input,
    text_field,
    text_input,
    textarea_field,
)
from qlora_studio.components.shell import studio_page
from qlora_studio.components.surfaces import card, page_header
from qlora_studio.pages.listening import ABOVE
from qlora_studio.state.listening_form import PLAN, ContestantRow, ListeningFormState

_PLAN = ", ".join(f"{votes} for {share} against {100 - share}" for share, votes in PLAN)


@studio_page(
    "/listening/new",
    title="New listening test",
    section="feedback",
    crumbs=[*ABOVE, ("Listening tests", "/listening")],
    on_load=ListeningFormState.load,
)
def listening_new() -> rx.Component:
    """Four groups of fields; the takes are made once it is sent."""
    state = ListeningFormState
    form = rx.form(
        card(_who()),
        card(_what(), class_name="mt-4"),
        card(_rules(), class_name="mt-4"),
        rx.el.div(
            rx.el.p(
                state.takes,
                role="status",
                class_name="text-[13px] text-muted-foreground mr-auto self-center tabular",
            ),
            link_button("Cancel", href="/listening"),
            button("Make the takes", variant="primary", type="submit", loading=state.is_sending),
            class_name="flex flex-wrap justify-end gap-2 mt-5",
        ),
        on_submit=state.create,
        reset_on_submit=False,
        no_validate=True,
    )
    nobody = empty_state(
        "There is nobody to compare yet",
        "A listening test compares models that make sound. Add one, or train an adapter first.",
        link_button("Models", href="/models", icon="box", variant="primary"),
        icon="box",
    )
    return rx.fragment(
        page_header(
            "New listening test",
            "Everybody hears the same texts with the same seeds, two at a time, without knowing who made them.",
        ),
        loading_switch(
            is_loading=~state.is_loaded,
            error="",
            is_empty=state.options.length() == 0,
            loading=skeleton("h-96 !rounded-[10px]"),
            empty=card(nobody),
            full=form,
        ),
    )


def _error(name: str) -> Any:
    return ListeningFormState.field_errors.get(name, "")


def _who() -> rx.Component:
    state = ListeningFormState
    add = button("Add a contestant", icon="plus", size="sm", on_click=state.add, disabled=~state.can_add)
    return rx.el.fieldset(
        rx.el.legend("Contestants", class_name="text-[15px] font-semibold"),
        rx.el.p(
            "Two to eight base models or adapters; an adapter may compete at several strengths.",
            class_name="text-[13px] text-muted-foreground mt-0.5 mb-4",
        ),
        rx.el.div(rx.foreach(state.rows, _row), class_name="flex flex-col gap-3"),
        error_text("contestants", _error("contestants")),
        rx.el.div(add, class_name="mt-3"),
        class_name="min-w-0",
    )


def _row(row: ContestantRow, index: rx.Var[int]) -> rx.Component:
    state = ListeningFormState
    place = (index + 1).to_string()
    name = rx.Var.create("contestant-") + row.number.to_string()
    strength = rx.cond(
        row.choice.contains("|"),
        rx.debounce_input(
            text_input(
                name=rx.Var.create("strength-") + row.number.to_string(),
                input_mode="decimal",
                value=row.strength,
                on_change=lambda value: state.set_strength(row.number, value),
                aria_label=rx.Var.create("Strength of contestant ") + place,
                title="Strength, 0 to 2",
            ),
            debounce_timeout=300,
        ),
        rx.el.span("base", class_name="text-[13px] text-muted-foreground"),
    )
    return rx.el.div(
        rx.el.div(
            rx.el.div(
                select_input(
                    name=name,
                    options=state.options,
                    value=row.choice,
                    on_change=lambda value: state.choose(row.number, value),
                    aria_label=rx.Var.create("Contestant ") + place,
                ),
                class_name="flex-1 min-w-0",
            ),
            rx.el.div(strength, class_name="w-20 shrink-0 flex items-center"),
            icon_button(
                "x",
                rx.Var.create("Remove contestant ") + place,
                on_click=state.drop(row.number),
                disabled=state.rows.length() <= 2,
            ),
            class_name="flex items-center gap-2",
        ),
        error_text(name, row.error),
        key=row.number.to_string(),
    )


def _what() -> rx.Component:
    state = ListeningFormState
    return form_section(
        "What they play",
        "Each contestant makes takes of every text.",
        text_field(
            "Name",
            name="name",
            placeholder="Warm bells against dry bells",
            max_length=120,
            auto_complete="off",
            error=_error("name"),
        ),
        number_field(
            "Length",
            name="duration_s",
            unit="s",
            default_value="8",
            min="0.1",
            max="30",
            error=_error("duration_s"),
        ),
        rx.el.div(
            textarea_field(
                "Texts",
                name="prompts",
                rows=5,
                placeholder="a small bell, struck once\nrain on a tin roof",
                help="One a line, 50 at most. Several texts tell more than many takes of one.",
                on_change=state.set_prompts.debounce(300),
                error=_error("prompts"),
            ),
            class_name="sm:col-span-2",
        ),
        number_field(
            "Takes of each text",
            name="n_seeds",
            step="1",
            min="1",
            max="8",
            default_value="2",
            on_change=state.set_seeds,
            error=_error("n_seeds"),
        ),
        number_field(
            "First seed",
            name="seed",
            step="1",
            min="0",
            default_value="0",
            error=_error("seed"),
            help="The same for all contestants; the next takes count up.",
        ),
    )


def _rules() -> rx.Component:
    return form_section(
        "Who votes, and until when",
        "Settle the number of votes first: who stops at the first difference is wrong more often.",
        select_field(
            "Who may take it",
            name="audience",
            options=[("everyone", "Everybody with an account here"), ("owner", "Only me")],
        ),
        select_field(
            "Catch pairs",
            name="catch_every",
            default_value="10",
            error=_error("catch_every"),
            options=[("10", "1 in 10 questions"), ("5", "1 in 5"), ("20", "1 in 20"), ("0", "None")],
            help="A broken copy, or the same sound twice: they show who listens.",
        ),
        number_field(
            "Votes until it closes (optional)",
            name="max_votes",
            step="1",
            min="1",
            error=_error("max_votes"),
            help=f"Between two contestants it takes about {_PLAN}.",
        ),
        number_field(
            "Questions of one rater (optional)",
            name="max_per_rater",
            step="1",
            min="5",
            error=_error("max_per_rater"),
            help="Ten minutes are about 30 pairs of short sounds.",
        ),
    )
