"""Who is signed in, for the frame around every page."""

import asyncio

import reflex as rx

from qlora_studio.db import engine as db
from qlora_studio.db.models.user import User
from qlora_studio.services import access, accounts
from qlora_studio.services.access import Action
from qlora_studio.state.auth import authorized


class ShellState(rx.State):
    """What the top bar shows."""

    username: str = ""
    email: str = ""
    initials: str = ""
    theme: str = "system"
    is_admin: bool = False
    may_train: bool = False  # make, change and delete things
    may_rate: bool = False

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Fill the user menu; without a session, go to sign-in."""
        self.username = actor.username
        self.email = actor.email
        self.initials = actor.username[:2].upper()
        self.theme = actor.theme
        self.is_admin = access.may(actor, Action.ADMINISTER)
        self.may_train = access.may(actor, Action.CHANGE)
        self.may_rate = access.may(actor, Action.RATE)

    @rx.event
    @authorized()
    async def keep_theme(self, actor: User, theme: str):
        """Remember light, dark or the system's for the next sign-in; the page has it already."""
        await asyncio.to_thread(_keep_theme, actor, theme)
        self.theme = theme


def _keep_theme(actor: User, theme: str) -> None:
    with db.write() as session:
        accounts.set_theme(session, actor=actor, theme=theme)
