"""The ways around the app: sidebar, drawer, command palette. Only sections that exist are shown."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import reflex as rx

from qlora_studio.components.buttons import icon_button, page_link
from qlora_studio.state.shell import ShellState


@dataclass(frozen=True)
class Section:
    """A part of the app with its own place in the sidebar."""

    key: str
    label: str
    href: str
    icon: str
    for_admins: bool = False


_PLANNED = (
    Section("dashboard", "Dashboard", "/", "layout-dashboard"),
    Section("datasets", "Datasets", "/datasets", "audio-lines"),
    Section("models", "Models", "/models", "box"),
    Section("studio", "Studio", "/studio", "wand-sparkles"),
    Section("feedback", "Feedback", "/feedback", "star"),
    Section("training", "Training", "/training", "chart-spline"),
    Section("adapters", "Adapters", "/adapters", "layers"),
    Section("settings", "Settings", "/settings", "settings"),
    Section("admin", "Administration", "/admin", "users", for_admins=True),
)


def sections() -> list[Section]:
    """The sections whose page exists, in order."""
    return [s for s in _PLANNED if find_spec(f"qlora_studio.pages.{s.key}") is not None]


def _brand() -> rx.Component:
    heights = (6, 12, 18, 10, 15)
    bars = [
        rx.el.rect(
            x=str(3 + i * 4), y=str(12 - h / 2), width="2.4", height=str(h), rx="1.2", fill="currentColor"
        )
        for i, h in enumerate(heights)
    ]
    mark = rx.el.span(
        rx.el.svg(*bars, view_box="0 0 24 24", width="18", height="18", aria_hidden="true"),
        class_name="grid place-items-center h-7 w-7 rounded-lg bg-primary text-primary-foreground shrink-0",
    )
    return page_link(
        mark,
        rx.el.span("QLoRA Studio", class_name="nav-text font-semibold tracking-[-0.015em] text-[15px]"),
        href="/",
        aria_label="QLoRA Studio, dashboard",
        class_name="brand flex items-center gap-2.5 px-2 h-10 rounded-lg",
    )


def _nav(active: str) -> rx.Component:
    items = [
        _for_whom(
            s,
            rx.el.li(
                page_link(
                    rx.icon(s.icon, size=17, class_name="shrink-0", aria_hidden="true"),
                    rx.el.span(s.label, class_name="nav-text"),
                    href=s.href,
                    title=s.label,
                    aria_label=s.label,
                    class_name="nav-item flex items-center gap-3 h-9 px-2.5 rounded-lg text-muted-foreground hover:bg-muted hover:text-foreground transition-colors duration-150",
                    **({"aria_current": "page"} if s.key == active else {}),
                )
            ),
        )
        for s in sections()
    ]
    return rx.el.nav(
        rx.el.ul(*items, class_name="flex flex-col gap-0.5 list-none p-0 m-0"), aria_label="Sections"
    )


def _for_whom(section: Section, item: rx.Component) -> rx.Component:
    return rx.cond(ShellState.is_admin, item, rx.fragment()) if section.for_admins else item


def sidebar(active: str) -> rx.Component:
    """The sections at the left; collapses to icons."""
    return rx.el.aside(
        _brand(),
        rx.el.div(_nav(active), class_name="mt-4 flex-1"),
        rx.el.button(
            rx.icon("panel-left-close", size=17, class_name="collapse-icon shrink-0", aria_hidden="true"),
            rx.el.span("Collapse", class_name="nav-text"),
            type="button",
            data_toggle_sidebar="",
            aria_label="Collapse or expand the sidebar",
            class_name="nav-item flex items-center gap-3 h-9 px-2.5 rounded-lg text-muted-foreground hover:bg-muted hover:text-foreground cursor-pointer w-full",
        ),
        class_name="app-sidebar sticky top-0 h-dvh flex flex-col border-r border-border bg-card px-3 py-3",
    )


def drawer(active: str) -> rx.Component:
    """The same sections over the page, on narrow screens."""
    return rx.el.dialog(
        rx.el.div(
            _brand(),
            icon_button("x", "Close the menu", data_close_dialog=""),
            class_name="flex items-center justify-between mb-4",
        ),
        _nav(active),
        id="nav-drawer",
        class_name="drawer",
        aria_label="Menu",
    )


def command_palette() -> rx.Component:
    """Ctrl or Cmd and K: go anywhere by typing a few letters of its name."""
    entries = [(s.label, "Go to", s.icon, s.href) for s in sections() if not s.for_admins]
    keys = {s.key for s in sections()}
    if "datasets" in keys:
        entries.append(("Add a dataset", "Create", "plus", "/datasets/new"))
    if "models" in keys:
        entries.append(("Add a model", "Create", "plus", "/models/new"))
    if "training" in keys:
        entries.append(("Start training", "Create", "play", "/training/new"))
    entries.append(("Compare takes", "Go to", "headphones", "/feedback/pairs"))
    entries.append(("Listening tests", "Go to", "headphones", "/listening"))
    entries.append(("Notifications", "Go to", "bell", "/notifications"))
    items = [
        rx.el.li(
            page_link(
                rx.icon(icon, size=16, class_name="text-muted-foreground", aria_hidden="true"),
                rx.el.span(label),
                rx.el.span(kind, class_name="ml-auto text-xs text-muted-foreground"),
                href=href,
                id=f"palette-{i}",
                role="option",
                tab_index=-1,
                class_name="palette-item flex items-center gap-3 px-3 h-10 rounded-lg hover:bg-muted",
            ),
            role="presentation",
        )
        for i, (label, kind, icon, href) in enumerate(entries)
    ]
    return rx.el.dialog(
        rx.el.div(
            rx.icon("search", size=16, class_name="text-muted-foreground", aria_hidden="true"),
            rx.el.input(
                type="text",
                placeholder="Go to a page or start something",
                role="combobox",
                aria_expanded="true",
                aria_controls="palette-list",
                aria_label="Command",
                auto_complete="off",
                class_name="flex-1 h-12 bg-transparent text-[15px] outline-none",
            ),
            class_name="flex items-center gap-3 px-4 border-b border-border",
        ),
        rx.el.ul(
            *items,
            id="palette-list",
            role="listbox",
            aria_label="Commands",
            class_name="list-none m-0 p-2 max-h-80 overflow-y-auto",
        ),
        rx.el.p(
            "Nothing matches.",
            hidden=True,
            data_palette_none="",
            class_name="px-5 pb-4 text-muted-foreground",
        ),
        id="command-palette",
        class_name="palette",
        aria_label="Command palette",
    )


def breadcrumb(crumbs: list[tuple[Any, Any]], here: Any) -> rx.Component:
    """Where this page is. `crumbs` are (label, href) of the pages above it."""
    steps = [
        rx.el.li(
            page_link(label, href=href, class_name="text-muted-foreground hover:text-foreground rounded"),
            rx.icon("chevron-right", size=14, class_name="text-muted-foreground/70", aria_hidden="true"),
            # a phone has room for the nearest page above only
            class_name="flex items-center gap-1.5 whitespace-nowrap"
            + (" max-sm:hidden" if (label, href) != crumbs[-1] else ""),
        )
        for label, href in crumbs
    ]
    return rx.el.nav(
        rx.el.ol(
            *steps,
            rx.el.li(here, aria_current="page", class_name="font-medium truncate"),
            class_name="flex items-center gap-1.5 list-none p-0 m-0 text-[13px] min-w-0",
        ),
        aria_label="Breadcrumb",
        class_name="min-w-0",
    )
