"""The frame of every page for people who are signed in, and the decorator that puts a page into it.

@studio_page("/datasets", title="Datasets", section="datasets", on_load=DatasetsState.load)
def datasets() -> rx.Component:
    return rx.fragment(page_header("Datasets", ...), ...)
"""

from collections.abc import Callable
from typing import Any

import reflex as rx
from reflex.style import set_color_mode

from qlora_studio.components.bell import bell
from qlora_studio.components.buttons import icon_button, plain_link
from qlora_studio.components.feedback import skeleton
from qlora_studio.components.navigation import breadcrumb, command_palette, drawer, sidebar
from qlora_studio.state.bell import BellState
from qlora_studio.state.shell import ShellState

PageFunction = Callable[[], rx.Component]


def studio_page(
    route: str,
    *,
    title: str,
    section: str,
    on_load: Any = None,
    crumbs: list[tuple[Any, Any]] | None = None,
    here: Any = None,
    wide: bool = False,
) -> Callable[[PageFunction], PageFunction]:
    """Register a page inside the shell.

    Args:
        route: as in Reflex; `[dataset_id]` names a part of the address.
        title: of the browser's tab, and of the breadcrumb unless `here` says otherwise.
        section: the sidebar's entry that is marked.
        on_load: handler or list of handlers, run after the shell's own.
        crumbs: (label, href) of the pages above this one.
        wide: use the whole width (dashboards of charts); otherwise 1,200 px.
    """
    after = on_load if isinstance(on_load, list) else [on_load] if on_load is not None else []

    def register(function: PageFunction) -> PageFunction:
        def page() -> rx.Component:
            return shell(
                function(),
                section=section,
                crumbs=crumbs or [],
                here=title if here is None else here,
                wide=wide,
            )

        page.__name__ = function.__name__
        page.__module__ = function.__module__
        first = [ShellState.load, BellState.watch]
        rx.page(route=route, title=f"{title} · QLoRA Studio", on_load=[*first, *after])(page)
        return function

    return register


def shell(
    content: rx.Component, *, section: str, crumbs: list[tuple[Any, Any]], here: Any, wide: bool = False
) -> rx.Component:
    """Sidebar, top bar and the page's content."""
    width = "max-w-[1600px]" if wide else "max-w-[1200px]"
    return rx.fragment(
        plain_link("Skip to content", href="#content", class_name="skip-link"),
        rx.el.div(
            sidebar(section),
            rx.el.div(
                _top_bar(crumbs, here),
                rx.el.main(
                    content,
                    id="content",
                    tab_index=-1,
                    class_name=f"rise-in mx-auto w-full {width} px-4 sm:px-6 lg:px-8 py-6 outline-none",
                ),
                class_name="min-w-0 flex flex-col",
            ),
            class_name="app-shell",
        ),
        drawer(section),
        command_palette(),
    )


def first_paint() -> rx.Component:
    """What stands on the screen while the scripts of a page with an id in its address arrive."""
    bar = skeleton("h-6 w-40")
    blocks = [skeleton("h-[104px] !rounded-[10px]") for _ in range(4)]
    return rx.el.div(
        rx.el.div(class_name="app-sidebar h-dvh border-r border-border bg-card"),
        rx.el.div(
            rx.el.div(bar, class_name="h-14 px-8 flex items-center border-b border-border"),
            rx.el.div(
                skeleton("h-8 w-64 mb-6"),
                rx.el.div(*blocks, class_name="grid grid-cols-2 xl:grid-cols-4 gap-4"),
                skeleton("h-72 mt-4 !rounded-[10px]"),
                class_name="mx-auto w-full max-w-[1200px] px-4 sm:px-6 lg:px-8 py-6",
            ),
        ),
        role="status",
        aria_label="Loading",
        class_name="app-shell",
    )


def _top_bar(crumbs: list[tuple[Any, Any]], here: Any) -> rx.Component:
    return rx.el.div(
        icon_button("menu", "Open the menu", data_open_dialog="nav-drawer", class_name="min-[900px]:hidden"),
        breadcrumb(crumbs, here),
        rx.el.div(
            rx.el.button(
                rx.icon("search", size=14, aria_hidden="true"),
                rx.el.span("Go to…", class_name="sr-only sm:not-sr-only"),
                rx.el.kbd(
                    "Ctrl K",
                    class_name="hidden lg:inline text-[11px] border border-border rounded px-1.5 bg-card",
                ),
                type="button",
                data_open_dialog="command-palette",
                class_name="flex items-center gap-2 h-8 px-2.5 rounded-lg border border-border text-[13px] text-muted-foreground bg-muted/60 hover:bg-muted cursor-pointer",
            ),
            theme_switch(),
            bell(),
            _user_menu(),
            class_name="ml-auto flex items-center gap-1.5 shrink-0",
        ),
        role="banner",
        class_name="sticky top-0 z-20 flex items-center gap-3 h-14 px-4 sm:px-6 lg:px-8 border-b border-border bg-background/85 backdrop-blur",
    )


def theme_switch() -> rx.Component:
    """Light, dark, or as the system says."""
    choices = (("light", "sun", "Light"), ("dark", "moon", "Dark"), ("system", "monitor", "System"))
    return rx.dropdown_menu.root(
        rx.dropdown_menu.trigger(
            rx.el.button(
                rx.icon("sun", size=16, class_name="dark:hidden", aria_hidden="true"),
                rx.icon("moon", size=16, class_name="hidden dark:block", aria_hidden="true"),
                type="button",
                aria_label="Theme",
                title="Theme",
                class_name="inline-grid place-items-center h-8 w-8 rounded-lg hover:bg-muted cursor-pointer",
            )
        ),
        rx.dropdown_menu.content(
            *(
                rx.dropdown_menu.item(
                    rx.icon(icon, size=14, aria_hidden="true"),
                    label,
                    on_click=[set_color_mode(value), ShellState.keep_theme(value)],
                )
                for value, icon, label in choices
            ),
            align="end",
            size="1",
            variant="soft",
        ),
        modal=False,
    )


def _user_menu() -> rx.Component:
    return rx.dropdown_menu.root(
        rx.dropdown_menu.trigger(
            rx.el.button(
                rx.el.span(
                    ShellState.initials,
                    aria_hidden="true",
                    class_name="grid place-items-center h-7 w-7 rounded-full bg-primary-soft text-primary-text text-[11px] font-semibold",
                ),
                type="button",
                aria_label=ShellState.initials + ", your account",
                title="Your account",
                class_name="inline-grid place-items-center h-8 w-8 rounded-full hover:bg-muted cursor-pointer",
            )
        ),
        rx.dropdown_menu.content(
            rx.el.div(
                rx.el.p(ShellState.username, class_name="font-medium truncate"),
                rx.el.p(ShellState.email, class_name="text-xs text-muted-foreground truncate"),
                class_name="px-3 py-2 max-w-60",
            ),
            rx.dropdown_menu.separator(),
            rx.dropdown_menu.item(
                rx.icon("settings", size=14, aria_hidden="true"),
                "Settings",
                on_click=rx.redirect("/settings"),
            ),
            rx.dropdown_menu.item(
                rx.icon("log-out", size=14, aria_hidden="true"), "Log out", custom_attrs={"data-log-out": ""}
            ),
            align="end",
            size="1",
            variant="soft",
        ),
        modal=False,
    )
