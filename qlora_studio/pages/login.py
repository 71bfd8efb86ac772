"""Sign in."""

import reflex as rx

from qlora_studio.components.auth_form import auth_field, auth_form, auth_page


@rx.page(route="/login", title="Sign in · QLoRA Studio")
def login() -> rx.Component:
    """The sign-in form."""
    form = auth_form(
        "login",
        auth_field("Username or e-mail", name="login", auto_complete="username", auto_focus=True),
        auth_field("Password", name="password", type="password", auto_complete="current-password"),
        submit="Sign in",
    )
    return auth_page(
        form,
        title="Sign in to QLoRA Studio",
        text="Fine-tune audio models on your own machine.",
        other=("New here?", "Create an account", "/signup"),
    )
