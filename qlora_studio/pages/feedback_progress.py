"""The tab of how far the feedback has come."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import button, link_button
from qlora_studio.components.charts import bar_chart
from qlora_studio.components.dialogs import dialog, dialog_form
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.forms import number_field, select_input, text_field
from qlora_studio.components.status import progress_bar
from qlora_studio.components.surfaces import card, grid, stat_card
from qlora_studio.state.feedback import FeedbackState
from qlora_studio.state.feedback_rules import FeedbackRuleState


def progress_tab() -> rx.Component:
    """How far it is to the next training, how it came day by day, and which texts want ratings."""
    state = FeedbackState
    seen = state.progress
    none = empty_state(
        "Nothing to rate yet",
        "Have a model make sounds in the studio; what you say of them is counted here.",
        link_button("Open the studio", href="/studio", icon="wand-sparkles"),
    )
    prompts = rx.el.ul(rx.foreach(state.prompts, _prompt), class_name="list-none m-0 p-0 flex flex-col gap-3")
    return rx.el.div(
        card(
            rx.el.p(seen.ready, id="ready", class_name="text-sm mb-2 tabular"),
            progress_bar(seen.percent, label="Takes to train on"),
            title="Enough to train on",
            actions=button(
                "Change the rule", size="sm", icon="sliders-horizontal", on_click=FeedbackRuleState.show
            ),
        ),
        card(
            rx.cond(
                state.has_days,
                bar_chart(label=state.told, bars=state.bars, by_day=True, height=180),
                rx.el.p(
                    "Days with ratings or votes of your takes are drawn here.",
                    class_name="text-[13px] text-muted-foreground",
                ),
            ),
            title="Day by day",
            description=state.told,
            actions=select_input(
                name="period",
                options=[("30", "30 days"), ("90", "90 days")],
                value=state.period,
                on_change=state.choose_period,
                aria_label="Period",
            ),
        ),
        grid(
            stat_card("Takes rated", seen.n_rated, icon="star"),
            stat_card("Ratings", seen.n_ratings, icon="list-checks"),
            stat_card("Mean", seen.mean, icon="gauge"),
            stat_card("Texts rated", seen.prompts, icon="text"),
        ),
        rx.cond(
            state.prompts.length() > 0, card(prompts, title="Texts, those with the fewest rated first"), none
        ),
        _rule_dialog(),
        class_name="flex flex-col gap-4",
    )


def _prompt(row: Any) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.span(row.prompt, class_name="text-sm min-w-0 truncate"),
            rx.el.span(row.rated, class_name="text-xs text-muted-foreground tabular shrink-0"),
            class_name="flex justify-between gap-3 mb-1",
        ),
        progress_bar(row.percent, label=row.prompt),
    )


def _rule_dialog() -> rx.Component:
    state = FeedbackRuleState
    fields = [
        number_field(
            "Takes that are needed",
            name="rule-n_needed",
            min=1,
            step=1,
            default_value=state.n_needed,
            error=state.field_errors.get("n_needed", ""),
        ),
        number_field(
            "Rated at least",
            name="rule-min_stars",
            unit="stars",
            min=1,
            max=5,
            step=0.5,
            default_value=state.min_stars,
            error=state.field_errors.get("min_stars", ""),
        ),
        text_field(
            "Criterion",
            name="rule-criterion",
            optional=True,
            help="The mean of the ratings by this one; without it, of all ratings.",
            max_length=32,
            default_value=state.criterion,
            error=state.field_errors.get("criterion", ""),
        ),
        rx.cond(
            state.is_own,
            rx.el.div(button("Go by the server's rule again", size="sm", on_click=state.forget)),
            rx.fragment(),
        ),
    ]
    return dialog(
        dialog_form(*fields, label="Save", on_submit=state.save, on_cancel=state.close),
        is_open=state.is_open,
        title="When is it enough to train on?",
        description="This is yours alone. The studio, the command line and the API go by it too.",
        on_close=state.close,
    )
