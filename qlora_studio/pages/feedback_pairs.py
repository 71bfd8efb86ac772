"""Blind pairs: two takes of one text, and which one is better."""

import reflex as rx

from qlora_studio.components.blind_pair import blind_pair
from qlora_studio.components.buttons import link_button
from qlora_studio.components.feedback import empty_state, loading_switch, skeleton
from qlora_studio.components.navigation import sections
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import progress_bar
from qlora_studio.components.surfaces import card, notice, page_header
from qlora_studio.state.pairs import PairsState

_ABOVE = [
    (section.label, section.href)
    for section in sections()
    if section.key == "feedback" and section.href != "/feedback/pairs"
]


@studio_page(
    "/feedback/pairs",
    title="Compare takes",
    section="feedback",
    crumbs=[*_ABOVE],
    on_load=PairsState.load,
)
def feedback_pairs() -> rx.Component:
    """One pair after the other, until none is left."""
    state = PairsState
    comparing = rx.el.div(
        rx.el.div(
            rx.el.p(state.progress, class_name="text-[13px] text-muted-foreground tabular shrink-0"),
            progress_bar(state.percent, label="Pairs of this sitting"),
            class_name="flex items-center gap-4 mb-5",
        ),
        blind_pair(
            state.pair,
            state.upcoming,
            is_busy=state.is_busy,
            can_undo=state.n_answered > 0,
            on_answer=state.answer,
            on_undo=state.undo,
        ),
        class_name="max-w-[860px] mx-auto",
    )
    return rx.fragment(
        page_header(
            "Compare takes",
            "Two takes of one text. Nothing here says what made them. Your answers become pairs to train on.",
            link_button("Listening tests", href="/listening", icon="chart-no-axes-column"),
        ),
        rx.cond(
            state.is_forbidden,
            card(notice(state.refusal + " Ask an admin for a role that may rate.", icon="lock")),
            _pairs(comparing),
        ),
    )


def _pairs(comparing: rx.Component) -> rx.Component:
    state = PairsState
    return loading_switch(
        is_loading=~state.is_loaded,
        error=state.refusal,
        is_empty=state.pair.id == "",
        loading=rx.el.div(skeleton("h-72 !rounded-[10px]"), class_name="max-w-[860px] mx-auto"),
        empty=card(_nothing_left()),
        full=comparing,
    )


def _nothing_left() -> rx.Component:
    make = [
        link_button("Make takes", href=section.href, icon="plus", variant="primary")
        for section in sections()
        if section.key == "studio"
    ]
    return rx.cond(
        PairsState.n_answered > 0,
        empty_state(
            "You have answered every pair",
            PairsState.progress + ". More takes of a text make more pairs.",
            rx.cond(PairsState.may_make, rx.fragment(*make), rx.fragment()),
            icon="circle-check",
        ),
        empty_state(
            "Nothing to compare yet",
            "No two takes of one text are there. Make two or more of the same text in the studio, or wait until "
            "somebody shares some.",
            rx.cond(PairsState.may_make, rx.fragment(*make), rx.fragment()),
            icon="audio-lines",
        ),
    )
