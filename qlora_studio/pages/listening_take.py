"""A listening test being taken: one blind pair after the other."""

from typing import Any

import reflex as rx

from qlora_studio.components.blind_pair import blind_pair
from qlora_studio.components.buttons import link_button
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import progress_bar
from qlora_studio.components.surfaces import card, notice, page_header
from qlora_studio.pages.listening import ABOVE
from qlora_studio.state.listening import ListeningTestState


@studio_page(
    "/listening/[test_id]",
    title="Listening test",
    section="feedback",
    crumbs=[*ABOVE, ("Listening tests", "/listening")],
    here=ListeningTestState.test.name,
    on_load=[ListeningTestState.load, ListeningTestState.watch],
)
def listening_take() -> rx.Component:
    """What is shown depends on how far the test is, and the rater."""
    state = ListeningTestState
    return rx.cond(
        state.is_missing,
        card(missing()),
        rx.cond(state.test.id == "", _outline(), _loaded()),
    )


def missing() -> rx.Component:
    """There is no such test, or it is somebody else's."""
    return empty_state(
        "No such listening test",
        "It was deleted, isn't for you, or the link is wrong.",
        link_button("All listening tests", href="/listening", variant="primary"),
        icon="search-x",
    )


def _outline() -> rx.Component:
    return rx.el.div(
        skeleton("h-8 w-64"),
        skeleton("h-72 mt-8 !rounded-[10px] max-w-[860px] mx-auto"),
        role="status",
        aria_label="Loading",
    )


def _loaded() -> rx.Component:
    state = ListeningTestState
    results = link_button(
        "Results", href=rx.Var.create("/listening/") + state.test.id + "/results", icon="chart-no-axes-column"
    )
    return rx.fragment(
        page_header(state.test.name, state.test.detail, rx.cond(state.test.is_own, results, rx.fragment())),
        rx.cond(
            state.refusal != "",
            notice(state.refusal, tone="warning", icon="lock"),
            rx.match(
                state.test.status,
                (
                    "making",
                    making_card(
                        state, "The sounds are being made", description="The test opens once all are there."
                    ),
                ),
                ("failed", notice("Its sounds could not be made yet.", tone="warning", icon="circle-x")),
                rx.cond(state.pair.id != "", _question(), card(_over())),
            ),
        ),
    )


def _question() -> rx.Component:
    state = ListeningTestState
    bar = progress_bar(state.percent, label="Answered")
    return rx.el.div(
        rx.el.div(
            rx.el.p(state.progress, class_name="text-[13px] text-muted-foreground tabular shrink-0"),
            rx.cond(state.percent > 0, bar, rx.fragment()),
            class_name="flex items-center gap-4 mb-5",
        ),
        blind_pair(state.pair, state.upcoming, is_busy=state.is_busy, on_answer=state.answer),
        rx.el.p(
            "You can leave at any time and go on later.",
            class_name="text-xs text-muted-foreground text-center mt-4",
        ),
        class_name="max-w-[860px] mx-auto",
    )


def making_card(state: Any, title: str, *, description: str) -> rx.Component:
    """How far the takes of a test are."""
    return card(
        progress_bar(state.test.percent, label="Takes made", active=True),
        rx.el.p(state.test.progress, role="status", class_name="mt-3 text-[13px] tabular"),
        title=title,
        description=description,
        class_name="running-border",
    )


def _over() -> rx.Component:
    state = ListeningTestState
    back = link_button("All listening tests", href="/listening")
    return rx.cond(
        state.test.status == "closed",
        empty_state("This test is closed", state.progress + ". Thank you.", back, icon="lock"),
        empty_state(
            "You have answered everything", state.progress + ". Thank you.", back, icon="circle-check"
        ),
    )
