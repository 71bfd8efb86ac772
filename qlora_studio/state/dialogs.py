"""What states share that open a dialog: of a page, or to delete a row of a list."""

import reflex as rx

from qlora_studio.state.auth import authorized


class DialogState(rx.State, mixin=True):
    """A page with several dialogs, of which one at most is open."""

    dialog: str = ""  # its name, or none

    @rx.event
    @authorized()
    async def close_dialog(self):
        """Close whichever dialog is open."""
        self.dialog = ""


class SecretState(DialogState, mixin=True):
    """Makes something and shows it once. Dialogs: `add`, its form, and `secret`."""

    secret: str = ""  # what was just made, until its dialog is closed
    is_sending: bool = False
    field_errors: dict[str, str] = {}

    def _begin(self) -> None:
        """Show no dialog and remember nothing."""
        self.dialog, self.secret, self.field_errors, self.is_sending = "", "", {}, False

    @rx.event
    @authorized()
    async def ask_add(self):
        """Open the form."""
        self.dialog, self.field_errors = "add", {}

    @rx.event
    @authorized()
    async def close(self):
        """Close whichever dialog is open, and forget the secret that it may have shown."""
        self.dialog, self.secret = "", ""


class DeletingState(rx.State, mixin=True):
    """A list that asks before it deletes a row. The rows have an `id` and a `name`."""

    deleting_id: str = ""
    deleting_name: str = ""

    @rx.event
    @authorized()
    async def ask_delete(self, row_id: str):
        """Ask before the row's thing is deleted."""
        row = next((row for row in self.rows if row.id == row_id), None)
        self.deleting_id, self.deleting_name = (row.id, row.name) if row else ("", "")

    @rx.event
    @authorized()
    async def cancel_delete(self):
        """Close the dialog and keep the thing."""
        self.deleting_id = ""
