"""Make an account."""

import reflex as rx

from qlora_studio.components.auth_form import auth_field, auth_form, auth_page, strength_meter


@rx.page(route="/signup", title="Create an account · QLoRA Studio")
def signup() -> rx.Component:
    """The sign-up form."""
    form = auth_form(
        "signup",
        auth_field("Username", name="username", auto_complete="username", auto_focus=True, max_length=32),
        auth_field("E-mail", name="email", type="email", auto_complete="email", max_length=254),
        auth_field(
            "Password", name="password", type="password", auto_complete="new-password", max_length=256
        ),
        strength_meter(),
        auth_field(
            "Confirm password", name="confirm", type="password", auto_complete="new-password", max_length=256
        ),
        submit="Create account",
    )
    return auth_page(
        form,
        title="Create your account",
        text="It stays on this machine. The first account is the admin's.",
        other=("Have an account?", "Sign in", "/login"),
    )
