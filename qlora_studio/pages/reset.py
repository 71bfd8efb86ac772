"""Set a new password by a link from an admin."""

import reflex as rx

from qlora_studio.components.auth_form import auth_field, auth_form, auth_page, strength_meter


@rx.page(route="/reset", title="Set a new password · QLoRA Studio")
def reset() -> rx.Component:
    """The form behind a one-time link, whose secret stands after the hash sign."""
    form = auth_form(
        "reset",
        auth_field(
            "New password",
            name="new",
            type="password",
            auto_complete="new-password",
            max_length=256,
            auto_focus=True,
        ),
        strength_meter(),
        auth_field(
            "Confirm password", name="confirm", type="password", auto_complete="new-password", max_length=256
        ),
        submit="Set password",
    )
    return auth_page(
        form,
        title="Set a new password",
        text="The link works once. You are signed out everywhere, and sign in with the new password.",
        other=("Know your password?", "Sign in", "/login"),
    )
