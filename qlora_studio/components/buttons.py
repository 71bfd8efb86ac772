"""Buttons and links that look like buttons. What they say is what happens."""

from typing import Any, Literal

import reflex as rx
from reflex_components_core.el.elements.inline import A
from reflex_components_core.react_router.dom import ReactRouterLink

Variant = Literal["primary", "secondary", "ghost", "danger"]
_BASE = (
    "inline-flex items-center justify-center gap-2 whitespace-nowrap rounded-lg font-medium cursor-pointer "
    "select-none transition-colors duration-150 disabled:opacity-55 disabled:cursor-not-allowed border "
)
_VARIANTS = {
    "primary": "bg-primary text-primary-foreground border-transparent hover:bg-primary-hover shadow-sm",
    "secondary": "bg-card text-foreground border-border hover:bg-muted shadow-sm",
    "ghost": "bg-transparent text-foreground border-transparent hover:bg-muted",
    "danger": "bg-card text-danger border-border hover:bg-danger-soft shadow-sm",
}
_SIZES = {"sm": "h-8 px-3 text-[13px]", "md": "h-9 px-3.5 text-sm", "lg": "h-10 px-5 text-sm"}


def classes(variant: Variant = "secondary", size: str = "md", extra: str = "") -> str:
    """Return the class names of a button, for elements that must look like one."""
    return f"{_BASE}{_VARIANTS[variant]} {_SIZES[size]} {extra}"


def spinner(size: int = 15) -> rx.Component:
    """Something is being sent."""
    return rx.icon("loader-circle", size=size, class_name="spinner", aria_hidden="true")


def button(
    label: Any,
    *,
    icon: str | None = None,
    variant: Variant = "secondary",
    size: str = "md",
    loading: Any = False,
    class_name: str = "",
    **props: Any,
) -> rx.Component:
    """A button. `loading` (a bool Var) shows a spinner and disables it while something is sent."""
    mark = rx.icon(icon, size=16, aria_hidden="true") if icon else rx.fragment()
    if loading is not False:
        mark = rx.cond(loading, spinner(), mark)
        props["disabled"] = props["disabled"] | loading if "disabled" in props else loading
    props.setdefault("type", "button")
    return rx.el.button(mark, rx.el.span(label), class_name=classes(variant, size, class_name), **props)


def link_button(
    label: Any,
    *,
    href: Any,
    icon: str | None = None,
    variant: Variant = "secondary",
    size: str = "md",
    **props: Any,
) -> rx.Component:
    """A link to another page, dressed as a button."""
    mark = [rx.icon(icon, size=16, aria_hidden="true")] if icon else []
    extra = props.pop("class_name", "")
    return page_link(*mark, rx.el.span(label), href=href, class_name=classes(variant, size, extra), **props)


def download_button(
    label: Any, *, href: Any, icon: str = "download", variant: Variant = "secondary"
) -> rx.Component:
    """A plain link to a file of the REST API, which the browser saves."""
    return plain_link(
        rx.icon(icon, size=16, aria_hidden="true"),
        rx.el.span(label),
        href=href,
        download="",
        class_name=classes(variant),
    )


def plain_link(*children: Any, href: Any, **props: Any) -> rx.Component:
    """A link that the browser follows by itself: a download, or a place on this page.

    `rx.el.a` is no such thing: it becomes the router's link, which would look for a page at that address.
    """
    return A.create(*children, href=href, **props)


def icon_button(icon: str, label: Any, *, variant: Variant = "ghost", **props: Any) -> rx.Component:
    """A square button with an icon only; `label` is its name for screen readers and its tooltip."""
    extra = props.pop("class_name", "")
    props.setdefault("type", "button")
    return rx.el.button(
        rx.icon(icon, size=16, aria_hidden="true"),
        aria_label=label,
        title=label,
        class_name=f"{_BASE}{_VARIANTS[variant]} h-8 w-8 {extra}",
        **props,
    )


def page_link(*children: Any, href: Any, class_name: Any = "", **props: Any) -> rx.Component:
    """A link within the app: no page reload."""
    return ReactRouterLink.create(*children, to=href, class_name=class_name, **props)


def text_link(label: Any, *, href: Any, **props: Any) -> rx.Component:
    """A link in running text."""
    return page_link(
        label,
        href=href,
        class_name="text-primary-text font-medium hover:underline underline-offset-4",
        **props,
    )


def link_or_text(label: Any, *, href: Any) -> rx.Component:
    """A link in running text, or only its words where there is nothing to open."""
    return rx.cond(href != "", text_link(label, href=href), label)
