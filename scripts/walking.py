"""Walking through pages in Chromium: a picture of each, axe-core, console errors, sideways scrolling."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as NotInTime

from scripts.running import ROOT, Server, axe_violations, chromium, sign_in, watch_console

OUT = ROOT / ".screens"
WIDTHS = {390: 844, 820: 1180, 1440: 900}
THEMES = ("light", "dark")


@dataclass(frozen=True)
class Screen:
    """One thing to look at. `act` brings the page into the state that is meant."""

    name: str
    path: str
    act: Callable[[Page], object] | None = None
    signed_out: bool = False
    wide_only: bool = False


def press(name: str) -> Callable[[Page], None]:
    """What presses the first button of this name."""
    return lambda page: page.get_by_role("button", name=name).first.click()


def walk(
    server: Server, token: str, pages: list[Screen], ids: dict[str, str], *, only: str, quick: bool
) -> list[str]:
    """Take all pictures and return one line for each complaint."""
    complaints: list[str] = []
    with chromium() as browser:
        for width, height in WIDTHS.items():
            for theme in THEMES:
                if quick and (width, theme) not in {(390, "dark"), (1440, "light")}:
                    continue
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
                sign_in(context, server, token)
                anonymous = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=theme
                )
                for screen in pages:
                    if only not in screen.name or (screen.wide_only and width < 640):
                        continue
                    page = (anonymous if screen.signed_out else context).new_page()
                    where = f"{screen.name}-{width}-{theme}"
                    complaints += [f"{where}: {text}" for text in look(page, server.base, screen, ids, where)]
                    page.close()
                context.close()
                anonymous.close()
    return complaints


def look(page: Page, base: str, screen: Screen, ids: dict[str, str], where: str) -> list[str]:
    """Open one screen, take its picture, and return what is wrong with it."""
    try:
        path = screen.path.format(**ids)
    except KeyError:
        return []  # the account has no such thing
    complaints = watch_console(page)
    page.goto(base + path, wait_until="load")
    settle(page)
    if screen.act is not None:
        screen.act(page)
        page.wait_for_timeout(400)
    page.screenshot(path=OUT / f"{where}.png", full_page=True)
    is_meant = any(word in screen.name for word in ("not-found", "refused"))  # the browser notes each refusal
    found = [] if is_meant else list(complaints)
    found += axe_violations(page)
    overflow = page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    if overflow > 0:
        found.append(f"scrolls sideways by {overflow} px")
    return found


_IS_SETTLED = """() => document.querySelector("h1") && !document.querySelector(".skeleton")
  && [...document.querySelectorAll(".live-chart")].every((chart) => chart.querySelector(".main-svg"))"""


def settle(page: Page) -> None:
    """Wait until the page has its data: no skeletons, no animation under way."""
    try:
        page.wait_for_function(_IS_SETTLED, timeout=20_000)
    except NotInTime:
        print(f"still loading after 20 s: {page.url}", file=sys.stderr)
    page.wait_for_timeout(500)


def wait_for(look_again: Callable[[], Any], seconds: float = 180) -> Any:
    """Return what `look_again` finds, once it finds something.

    Raises:
        TimeoutError: it has found nothing in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := look_again()):
        if time.monotonic() > deadline:
            raise TimeoutError("the demo account was not filled in time")
        time.sleep(0.3)
    return found
