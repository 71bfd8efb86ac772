"""Cards, headings and the boxes that pages are made of."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import page_link


def card(
    *children: Any,
    title: Any = None,
    description: Any = None,
    actions: Any = None,
    class_name: str = "",
    **props: Any,
) -> rx.Component:
    """A box with a hairline border. `actions` stands at the right of the title."""
    head: list[Any] = []
    if title is not None:
        head.append(
            rx.el.div(
                rx.el.div(
                    rx.el.h2(title, class_name="text-[15px] font-semibold leading-6"),
                    *(
                        [rx.el.p(description, class_name="text-[13px] text-muted-foreground mt-0.5")]
                        if description is not None
                        else []
                    ),
                    class_name="min-w-0",
                ),
                *(
                    [rx.el.div(actions, class_name="flex items-center gap-2 shrink-0")]
                    if actions is not None
                    else []
                ),
                class_name="flex items-start justify-between gap-4 mb-4",
            )
        )
    return rx.el.section(
        *head,
        *children,
        class_name=f"bg-card border border-border rounded-[10px] shadow-card p-5 {class_name}",
        **props,
    )


def page_header(title: Any, description: Any = None, *actions: Any) -> rx.Component:
    """The page's one `h1`, a sentence under it, and its actions at the right."""
    return rx.el.header(
        rx.el.div(
            rx.el.h1(title, class_name="text-[22px] leading-8 font-semibold tracking-[-0.02em] truncate"),
            *(
                [rx.el.p(description, class_name="text-muted-foreground mt-1 max-w-[68ch]")]
                if description is not None
                else []
            ),
            class_name="min-w-0",
        ),
        rx.el.div(*actions, class_name="flex flex-wrap items-center gap-2 shrink-0 max-w-full"),
        class_name="flex flex-wrap items-start justify-between gap-x-6 gap-y-3 mb-6",
    )


def stat_card(
    label: Any, value: Any, *, icon: str, hint: Any = None, href: str | None = None
) -> rx.Component:
    """One number with its name; a link to the list behind it if `href` is given."""
    body = rx.el.div(
        rx.el.div(
            rx.el.span(label, class_name="text-[13px] text-muted-foreground"),
            rx.icon(icon, size=16, class_name="text-muted-foreground", aria_hidden="true"),
            class_name="flex items-center justify-between",
        ),
        rx.el.p(value, class_name="text-2xl font-semibold tracking-[-0.02em] tabular mt-1.5 leading-8"),
        rx.el.p(
            rx.fragment() if hint is None else hint, class_name="text-xs text-muted-foreground min-h-[1.1rem]"
        ),
        class_name="bg-card border border-border rounded-[10px] shadow-card px-4 py-3.5 h-full transition-colors duration-150 "
        + ("hover:border-border-strong" if href else ""),
    )
    return page_link(body, href=href, class_name="block rounded-[10px]") if href else body


def grid(*children: Any, columns: str = "grid-cols-2 xl:grid-cols-4", class_name: str = "") -> rx.Component:
    """Boxes side by side. `columns` says how many, on a phone first: `grid-cols-1 sm:grid-cols-2`."""
    return rx.el.div(*children, class_name=f"grid {columns} gap-3 sm:gap-4 {class_name}")


def notice(text: Any, *, icon: str = "info", tone: str = "info", action: Any = None) -> rx.Component:
    """A sentence in a tinted box. `tone` is info, success, warning or danger."""
    tones = {
        "info": "bg-info-soft text-info",
        "success": "bg-success-soft text-success",
        "warning": "bg-warning-soft text-warning",
        "danger": "bg-danger-soft text-danger",
    }
    return rx.el.div(
        rx.icon(icon, size=16, class_name="shrink-0 mt-0.5", aria_hidden="true"),
        rx.el.div(text, class_name="min-w-0 flex-1 text-[13px] text-foreground"),
        *([action] if action is not None else []),
        class_name=f"flex items-start gap-2.5 rounded-lg px-3.5 py-2.5 {tones[tone]}",
        role="alert" if tone == "danger" else "status",
    )
