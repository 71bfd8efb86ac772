"""Which scripts a page of the build needs, told with its document.

Pages whose address holds an id (`/training/job_…`) share one document, which names no page's scripts: the
browser would learn of them only when the router runs, and of the chart library when the first curve is drawn.
A `Link` header says so at once. https://html.spec.whatwg.org/multipage/links.html#link-type-modulepreload
"""

import json
import re
from pathlib import Path
from typing import Any

_CURVES = re.compile(r"\blive_chart-[\w-]+\.js")
_LIBRARY = "plotly*.js"

Route = dict[str, Any]


class Preloads:
    """The `Link` headers of a build's pages."""

    def __init__(self, static_path: Path) -> None:
        """Read the build's manifest under `static_path`; without a build nothing is named."""
        manifest = next(iter(sorted(static_path.glob("assets/manifest-*.js"))), None)
        routes = _routes(manifest.read_text()) if manifest else {}
        shared = _scripts(routes.pop("root", {}))
        # `/training/new` has a document of its own, and is no `/training/:job_id`.
        pages = sorted(routes.values(), key=_has_id)
        self._pages = [(_pattern(page), _header(_named(page, shared, static_path))) for page in pages]

    def for_path(self, path: str) -> str | None:
        """Return the value of the `Link` header of `path`, or None when its document names all itself."""
        found = next((links for pattern, links in self._pages if pattern.fullmatch(path)), None)
        return found or None


def _routes(manifest: str) -> dict[str, Route]:
    return json.loads(manifest[manifest.index("{") : manifest.rindex("}") + 1])["routes"]


def _has_id(route: Route) -> bool:
    return ":" in route.get("path", "")


def _named(route: Route, shared: list[str], static_path: Path) -> list[str]:
    """The scripts that the document of `route` does not name."""
    own = [*shared, *_scripts(route)] if _has_id(route) else []
    return [*own, *_curves(static_path, route["module"])]


def _scripts(route: Route) -> list[str]:
    return [name for name in [route.get("module"), *route.get("imports", [])] if name]


def _curves(static_path: Path, module: str) -> list[str]:
    """The chart library and what draws with it, if the page asks for them."""
    found = _CURVES.search((static_path / module.lstrip("/")).read_text())
    if found is None:
        return []
    library = sorted(script.name for script in (static_path / "assets").glob(_LIBRARY))
    return [f"/assets/{name}" for name in [found[0], *library]]


def _pattern(route: Route) -> re.Pattern[str]:
    parts = [
        "[^/]+" if part.startswith(":") else re.escape(part) for part in route.get("path", "").split("/")
    ]
    return re.compile("/" + "/".join(parts) + "/?")


def _header(scripts: list[str]) -> str:
    return ", ".join(f'<{name}>; rel="modulepreload"' for name in dict.fromkeys(scripts))
