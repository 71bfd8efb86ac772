"""Who is signed in, for the frame around every page."""

import reflex as rx

from qlora_studio.db.models.user import User
from qlora_studio.state.auth import authorized


class ShellState(rx.State):
    """What the top bar shows."""

    username: str = ""
    email: str = ""
    initials: str = ""
    is_admin: bool = False

    @rx.event
    @authorized()
    async def load(self, actor: User):
        """Fill the user menu; without a session, go to sign-in."""
        self.username = actor.username
        self.email = actor.email
        self.initials = actor.username[:2].upper()
        self.is_admin = actor.role == "admin"
