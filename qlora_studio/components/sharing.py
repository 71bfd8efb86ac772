"""What only some see: buttons by role, whose a thing is, and the choice of what others may do with it."""

from typing import Any

import reflex as rx

from qlora_studio.components.details import tabs
from qlora_studio.components.feedback import empty_state
from qlora_studio.components.forms import select_input
from qlora_studio.components.status import badge
from qlora_studio.state.shell import ShellState

_CHOICES = [("private", "Only you"), ("read", "All may look")]


def for_trainers(*children: Any) -> rx.Component:
    """Shown to those only whose role makes and changes things; the service refuses the others."""
    return rx.cond(ShellState.may_train, rx.fragment(*children), rx.fragment())


def shelf_tabs(state: Any, *, what: str, path: str) -> rx.Component:
    """One's own things, and those that others share; over a list's state with a shelf."""
    return tabs(
        [("mine", f"Your {what}", path), ("shared", "Shared with you", f"{path}?shelf=shared")],
        current=state.shelf,
    )


def nothing_shared(what: str) -> rx.Component:
    """That nobody shares anything of this kind."""
    return empty_state(
        "Nothing is shared with you",
        f"When others share their {what}, to look at or to train with, they appear here.",
        icon="users",
    )


def whose(row: Any) -> rx.Component:
    """A mark beside a name: that others see it, or whose it is."""
    shared = rx.match(
        row.sharing,
        ("read", badge("All may look", icon="eye")),
        ("use", badge("All may use", icon="users")),
        rx.fragment(),
    )
    return rx.cond(row.owner != "", badge(rx.Var.create("By ") + row.owner, icon="user"), shared)


def sharing_choice(state: Any, shown: Any, *, use: str = "All may train with it") -> rx.Component:
    """For the owner: what others may do (`use` says the most); for others: whose it is, and what they may."""
    choice = select_input(
        name="sharing",
        options=[*_CHOICES, ("use", use)],
        value=shown.sharing,
        on_change=state.share,
        aria_label="Who may see it",
        title="What others with an account here may do",
        class_name="w-auto",
    )
    told = rx.cond(
        shown.sharing == "use",
        badge(rx.Var.create("Shared by ") + shown.owner, icon="users"),
        badge(rx.Var.create("Shared by ") + shown.owner + " to look at", icon="eye"),
    )
    return rx.cond(shown.owner != "", told, rx.cond(shown.may_change, choice, rx.fragment()))
