"""The training wizard: four steps, a summary at the side, and a draft that survives."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, text_link
from qlora_studio.components.details import key_values
from qlora_studio.components.dialogs import confirm_dialog
from qlora_studio.components.feedback import skeleton
from qlora_studio.components.forms import choice_card, search_input
from qlora_studio.components.resources import no_datasets, no_models
from qlora_studio.components.shell import studio_page
from qlora_studio.components.surfaces import card, notice, page_header
from qlora_studio.components.wizard import stepper
from qlora_studio.pages.wizard_parameters import parameters_step
from qlora_studio.pages.wizard_review import review_step
from qlora_studio.state.wizard import WizardState
from qlora_studio.state.wizard_rows import ChoiceRow

_STEPS = ("Dataset", "Model", "Parameters", "Review and launch")


@studio_page(
    "/training/new",
    title="New training",
    section="training",
    crumbs=[("Training", "/training")],
    on_load=WizardState.load,
)
def new_training() -> rx.Component:
    """One step at a time; what is done can be clicked to go back."""
    state = WizardState
    return rx.fragment(
        page_header("New training", "Four steps. What you type is kept, also when you leave and come back."),
        stepper(_STEPS, current=state.step, on_step=state.go_to),
        rx.el.div(
            rx.el.div(
                rx.cond(
                    state.is_loading,
                    _loading(),
                    rx.match(
                        state.step,
                        (0, _dataset_step()),
                        (1, _model_step()),
                        (2, parameters_step()),
                        review_step(),
                    ),
                ),
                _problem(),
                _buttons(),
                class_name="min-w-0",
            ),
            _summary(),
            class_name="grid grid-cols-1 lg:grid-cols-[minmax(0,1fr)_280px] gap-5 items-start",
        ),
        confirm_dialog(
            is_open=state.is_cancelling,
            title="Throw this draft away?",
            body="What you have chosen and typed is deleted. Datasets and models stay.",
            confirm_label="Throw away",
            on_confirm=state.discard,
            on_cancel=state.keep_draft,
        ),
    )


def _loading() -> rx.Component:
    return card(
        *(skeleton("h-16 w-full mb-3") for _ in range(4)),
        role="status",
        aria_label="Loading",
        aria_busy="true",
    )


def _problem() -> rx.Component:
    shown = notice(WizardState.problem, tone="danger", icon="circle-alert")
    return rx.cond(WizardState.problem != "", rx.el.div(shown, class_name="mt-4"), rx.fragment())


def _buttons() -> rx.Component:
    state = WizardState
    go_on = rx.cond(
        state.step == len(_STEPS) - 1,
        button(
            rx.cond(state.axes.length() > 0, "Start all jobs", "Start training"),
            icon="play",
            variant="primary",
            size="lg",
            loading=state.is_sending,
            on_click=state.launch,
        ),
        button("Next", variant="primary", size="lg", on_click=state.next_step),
    )
    back = button("Back", size="lg", on_click=state.go_to(state.step - 1))
    return rx.el.div(
        button("Cancel", variant="ghost", size="lg", on_click=state.ask_cancel(True)),
        rx.el.div(
            rx.cond(state.step > 0, back, rx.fragment()),
            go_on,
            class_name="flex gap-2 ml-auto",
        ),
        class_name="flex items-center justify-between gap-2 mt-5",
    )


def _summary() -> rx.Component:
    state = WizardState

    def value(text: Any, is_there: Any) -> rx.Component:
        return rx.cond(is_there, rx.el.span(text), rx.el.span("–", class_name="text-muted-foreground"))

    return rx.el.aside(
        card(
            key_values(
                ("Dataset", value(state.dataset.name, state.dataset.id != "")),
                ("Model", value(state.model.name, state.model.id != "")),
                ("Method", rx.cond(state.values.get("training_type", "") == "lora", "LoRA", "QLoRA, 4 bits")),
                ("Rank", value(state.values.get("qlora.rank", ""), state.step >= 2)),
                ("Learning rate", value(state.values.get("optimization.learning_rate", ""), state.step >= 2)),
                ("Length", value(_length(), state.step >= 2)),
                ("Batch size", value(state.values.get("optimization.batch_size", ""), state.step >= 2)),
            ),
            title="Summary",
        ),
        aria_label="Summary",
        class_name="hidden lg:block sticky top-20",
    )


def _length() -> rx.Component:
    values = WizardState.values
    steps, epochs = values.get("optimization.max_steps", ""), values.get("optimization.epochs", "")
    return rx.cond(
        steps != "",
        rx.fragment(steps, " steps"),
        rx.cond(epochs != "", rx.fragment(epochs, " epochs"), "the family's preset"),
    )


def _search(label: str) -> rx.Component:
    state = WizardState
    return search_input(
        label, value=state.search, on_change=state.look_for, placeholder=label, class_name="mb-4"
    )


def _choices(
    rows: rx.Var[list[ChoiceRow]], chosen: ChoiceRow, *, icon: str, nothing: rx.Component, search: str
) -> rx.Component:
    def choice(row: ChoiceRow) -> rx.Component:
        text = rx.fragment(row.text, rx.el.span(row.detail, class_name="block truncate text-xs mt-0.5"))
        return choice_card(
            row.name, text, icon=icon, selected=row.id == chosen.id, on_select=WizardState.choose(row.id)
        )

    listed = rx.el.div(rx.foreach(rows, choice), class_name="grid grid-cols-1 sm:grid-cols-2 gap-3")
    not_found = rx.el.p("Nothing is called like that.", class_name="text-[13px] text-muted-foreground py-4")
    return rx.cond(
        rows.length() > 0,
        rx.fragment(_search(search), listed),
        rx.cond(WizardState.search != "", rx.fragment(_search(search), not_found), nothing),
    )


def _dataset_step() -> rx.Component:
    state = WizardState
    nothing = no_datasets("No dataset is ready", state)
    return rx.fragment(
        card(
            _choices(
                state.datasets,
                state.dataset,
                icon="audio-lines",
                nothing=nothing,
                search="Search ready datasets",
            ),
            title="Dataset",
            description="Which recordings should the model learn from?",
        ),
        rx.cond(state.dataset.id != "", _splits(), rx.fragment()),
    )


def _splits() -> rx.Component:
    state = WizardState
    change = text_link("Change the split", href="/datasets/" + state.dataset.id)
    return card(
        key_values(
            ("Train", state.splits.train),
            ("Validation, held out to measure", state.splits.validation),
            ("Test, not touched", state.splits.test),
        ),
        rx.cond(
            state.splits.problem != "",
            rx.el.div(notice(state.splits.problem, tone="warning", icon="triangle-alert"), class_name="mt-3"),
            rx.fragment(),
        ),
        title=rx.fragment("Split of ", state.dataset.name),
        actions=rx.el.span(change, class_name="text-[13px]"),
        class_name="mt-4",
    )


def _model_step() -> rx.Component:
    state = WizardState
    nothing = no_models("No model for this task is ready", state)
    return card(
        _choices(state.models, state.model, icon="box", nothing=nothing, search="Search ready models"),
        title="Model",
        description=rx.fragment("Models for the dataset's task: ", state.dataset.detail, "."),
    )
