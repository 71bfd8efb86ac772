"""The tab of the adapters that make sounds."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, link_button, text_link
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.sharing import whose
from qlora_studio.components.status import badge, status_badge
from qlora_studio.components.surfaces import card
from qlora_studio.state.feedback_adapters import FeedbackAdaptersState


def adapters_tab() -> rx.Component:
    """Every model that makes sounds, with its adapters."""
    state = FeedbackAdaptersState
    add = link_button("Add a model", href="/models/new", icon="plus")
    none = empty_state(
        "No model that makes sounds yet",
        "Add one, make takes, rate them, and train on the best.",
        rx.cond(state.may_train, add, rx.fragment()),
        icon="layers",
    )
    return rx.cond(
        state.is_loading,
        skeleton("h-48 w-full"),
        rx.cond(
            state.models.length() > 0,
            rx.el.div(rx.foreach(state.models, _model), class_name="flex flex-col gap-4"),
            card(none),
        ),
    )


def _model(model: Any) -> rx.Component:
    listed = rx.el.ul(
        rx.foreach(model.adapters, lambda row: _adapter(row, model.id)),
        class_name="list-none m-0 p-0 divide-y divide-border",
    )
    nothing = rx.el.p(
        "No adapters of it yet: train on a dataset from feedback.",
        class_name="text-[13px] text-muted-foreground",
    )
    return card(
        rx.cond(model.adapters.length() > 0, listed, nothing),
        title=rx.cond(model.owner != "", model.name + rx.Var.create(" by ") + model.owner, model.name),
        description=rx.cond(
            model.has_default,
            "Its default adapter is chosen in the studio.",
            "It has no default: the studio begins with the model as it is.",
        ),
    )


def _adapter(row: Any, model_id: Any) -> rx.Component:
    is_default = row.may_change & (row.active != "")  # another's default is theirs
    choose = rx.cond(
        is_default,
        button(
            "No longer default",
            size="sm",
            on_click=FeedbackAdaptersState.deactivate(row.id),
            aria_label=rx.Var.create("No longer default: ") + row.name,
        ),
        button(
            "Make default",
            icon="zap",
            size="sm",
            on_click=FeedbackAdaptersState.activate(row.id),
            aria_label=rx.Var.create("Make default: ") + row.name,
        ),
    )
    return rx.el.li(
        rx.el.div(
            rx.el.div(
                text_link(row.name, href=row.href),
                whose(row),
                rx.cond(is_default, badge(row.active, icon="zap", tone="primary"), rx.fragment()),
                rx.cond(row.verdict != "", status_badge(row.verdict), rx.fragment()),
                class_name="flex flex-wrap items-center gap-2 min-w-0",
            ),
            rx.el.p(
                row.version,
                " · ",
                row.result,
                " · ",
                row.created,
                class_name="text-xs text-muted-foreground tabular",
            ),
            class_name="min-w-0 grow basis-52",
        ),
        link_button(
            "Use in the studio",
            href=rx.Var.create("/studio?model=") + model_id + "&adapter=" + row.id,
            size="sm",
            aria_label=rx.Var.create("Use in the studio: ") + row.name,
        ),
        rx.cond(row.may_change, choose, rx.fragment()),
        class_name="flex items-center gap-3 py-2.5 flex-wrap",
    )
