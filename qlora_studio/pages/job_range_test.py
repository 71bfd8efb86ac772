"""What a learning-rate range test found: the rate, and the curve it was read from."""

import reflex as rx

from qlora_studio.components.buttons import link_button
from qlora_studio.components.details import sparkline
from qlora_studio.components.surfaces import card
from qlora_studio.state.job import JobState


def range_test_card() -> rx.Component:
    """The rate first, then the loss over the rate; a way on to the training itself."""
    found = JobState.range_test
    return rx.cond(
        found.path != "",
        card(
            rx.cond(
                found.best != "",
                rx.el.p(
                    found.best,
                    id="best-rate",
                    class_name="text-[34px] leading-10 font-semibold tracking-[-0.03em] tabular",
                ),
                rx.fragment(),
            ),
            rx.el.p(found.sentence, class_name="text-[13px] text-muted-foreground mt-1 mb-4"),
            _curve(),
            title="Learning rate",
            actions=rx.cond(
                found.best != "",
                link_button(
                    "Train at this rate", href=JobState.job.clone_href, icon="arrow-right", size="sm"
                ),
                rx.fragment(),
            ),
            class_name="mb-4",
        ),
        rx.fragment(),
    )


def _curve() -> rx.Component:
    found = JobState.range_test
    label = "Loss over the learning rate, from " + found.lowest + " to " + found.highest
    return rx.el.figure(
        rx.el.div(
            sparkline(found.path, label=label, width=100, height=32, class_name="w-full h-40 block"),
            rx.cond(
                found.best != "",
                rx.el.span(
                    style={"left": found.best_at},
                    class_name="absolute inset-y-0 border-l border-dashed border-success",
                    aria_hidden="true",
                ),
                rx.fragment(),
            ),
            class_name="relative",
        ),
        rx.el.figcaption(
            rx.el.span(found.lowest),
            rx.el.span("learning rate, logarithmic"),
            rx.el.span(found.highest),
            class_name="flex justify-between text-xs text-muted-foreground mt-1 tabular",
        ),
        class_name="m-0",
    )
