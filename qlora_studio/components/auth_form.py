"""The frame and fields of sign-in and sign-up, and of the forms of the settings that hold a password.

They need no server state: `assets/auth.js` posts the form to the REST API, which sets the session cookie.
A password never passes through an event handler.
"""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import classes, text_link

_INPUT = (
    "w-full h-10 rounded-lg border border-border-strong/60 bg-card px-3 text-sm hover:border-border-strong "
    "transition-colors duration-150 placeholder:text-muted-foreground/80 aria-[invalid=true]:border-danger"
)


def auth_page(form: rx.Component, *, title: str, text: str, other: tuple[str, str, str]) -> rx.Component:
    """The page around a form. `other` is (question, link's label, its address)."""
    question, label, href = other
    heights = (12, 22, 34, 20, 40, 28, 16, 30, 22, 10)
    wave = [
        rx.el.span(
            class_name="wave-bar block w-[3px] rounded-full bg-primary",
            style={"height": f"{h}px", "animation_delay": f"{i * 90}ms"},
        )
        for i, h in enumerate(heights)
    ]
    return rx.el.main(
        rx.el.div(
            rx.el.div(class_name="aurora"),
            class_name="absolute inset-0 overflow-hidden -z-10",
            aria_hidden="true",
        ),
        rx.el.div(
            rx.el.div(
                *wave, class_name="flex items-center justify-center gap-1 h-10 mb-5", aria_hidden="true"
            ),
            rx.el.h1(title, class_name="text-[22px] leading-8 font-semibold tracking-[-0.02em] text-center"),
            rx.el.p(text, class_name="text-muted-foreground text-center mt-1 mb-6 text-balance"),
            form,
            rx.el.p(
                question,
                " ",
                text_link(label, href=href),
                class_name="text-center text-[13px] text-muted-foreground mt-5",
            ),
            class_name="rise-in w-full max-w-[400px] rounded-[14px] border border-border bg-card/92 backdrop-blur p-7 sm:p-8 shadow-overlay",
        ),
        class_name="relative isolate min-h-dvh grid place-items-center px-4 py-10",
    )


def auth_form(kind: str, *fields: rx.Component, submit: str, on_done: Any = None) -> rx.Component:
    """A form that `auth.js` sends. `kind` is login, signup, reset, profile or password.

    Args:
        on_done: for a form on a page of the app: what reads the page anew. The form then says how it went.
    """
    is_inside = on_done is not None
    return rx.el.form(
        rx.el.p(
            hidden=True,
            role="alert",
            data_form_alert="",
            class_name="rounded-lg bg-danger-soft text-danger text-[13px] px-3.5 py-2.5",
        ),
        *fields,
        rx.el.button(
            rx.icon(
                "loader-circle",
                size=16,
                class_name="spinner hidden in-data-[sending=true]:block",
                aria_hidden="true",
            ),
            submit,
            type="submit",
            class_name=classes("primary", "md", "self-start")
            if is_inside
            else classes("primary", "lg", "w-full mt-1"),
        ),
        *(_done(on_done) if is_inside else ()),
        method="post",
        no_validate=True,
        data_auth=kind,
        class_name="flex flex-col gap-4",
    )


def _done(on_done: Any) -> tuple[rx.Component, rx.Component]:
    said = rx.el.p(
        hidden=True,
        role="status",
        data_form_status="",
        class_name="rounded-lg bg-success-soft text-[13px] px-3.5 py-2.5",
    )
    return said, rx.el.button(
        type="button", hidden=True, data_form_done="", on_click=on_done, aria_hidden="true"
    )


def auth_field(
    label: str, *, name: str, type: str = "text", auto_complete: str, help: str = "", **props: Any
) -> rx.Component:
    """A labelled input whose error `auth.js` fills in."""
    control = rx.el.input(
        id=name,
        name=name,
        type=type,
        auto_complete=auto_complete,
        aria_describedby=f"{name}-error {name}-help",
        class_name=_INPUT + (" pr-11" if type == "password" else ""),
        **props,
    )
    if type == "password":
        control = rx.el.div(
            control,
            rx.el.button(
                rx.icon("eye", size=16, aria_hidden="true"),
                type="button",
                data_show_password=name,
                aria_label="Show password",
                aria_pressed="false",
                class_name="absolute right-1.5 top-1.5 grid place-items-center h-7 w-7 rounded-md text-muted-foreground hover:text-foreground cursor-pointer",
            ),
            class_name="relative",
        )
    return rx.el.div(
        rx.el.label(label, html_for=name, class_name="text-[13px] font-medium"),
        control,
        rx.el.p(help, id=f"{name}-help", class_name="text-xs text-muted-foreground")
        if help
        else rx.fragment(),
        rx.el.p(
            id=f"{name}-error",
            hidden=True,
            role="alert",
            data_error_for=name,
            class_name="text-xs text-danger",
        ),
        class_name="flex flex-col gap-1.5",
    )


def strength_meter() -> rx.Component:
    """Four bars and the rule that is broken."""
    bars = [rx.el.span(class_name="strength-bar h-1 flex-1 rounded-full bg-subtle") for _ in range(4)]
    return rx.el.div(
        rx.el.div(*bars, class_name="flex gap-1", aria_hidden="true"),
        rx.el.p(
            data_strength_text="",
            role="status",
            class_name="text-xs text-muted-foreground mt-1.5 min-h-[1.1rem]",
        ),
        data_strength="0",
        class_name="-mt-2",
    )
