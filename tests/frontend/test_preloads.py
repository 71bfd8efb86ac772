"""Documents name the scripts that their page needs, and no other page's."""

import json
from pathlib import Path

import pytest

from qlora_studio.frontend.preloads import Preloads

ROUTES = {
    "root": {"module": "/assets/root-1.js", "imports": ["/assets/shared-1.js"]},
    "new": {"path": "training/new", "module": "/assets/new-1.js", "imports": []},
    "job": {"path": "training/:job_id", "module": "/assets/job-1.js", "imports": ["/assets/shared-1.js"]},
    "model": {"path": "models/:model_id", "module": "/assets/model-1.js", "imports": ["/assets/square-1.js"]},
    "compare": {"path": "training/compare", "module": "/assets/compare-1.js", "imports": []},
    "home": {"index": True, "module": "/assets/home-1.js", "imports": []},
}
CURVES = {"job", "compare"}


@pytest.fixture
def preloads(tmp_path: Path) -> Preloads:
    assets = tmp_path / "assets"
    assets.mkdir()
    for name, route in ROUTES.items():
        text = "import(`./live_chart-ab_-9.js`)" if name in CURVES else ""
        (tmp_path / route["module"].lstrip("/")).write_text(text)
    (assets / "plotly-basic.min-1.js").touch()
    (assets / "manifest-1.js").write_text(f"window.__manifest={json.dumps({'routes': ROUTES})};")
    return Preloads(tmp_path)


def scripts(links: str | None) -> list[str]:
    return [part.split(";")[0].strip(" <>") for part in (links or "").split(",") if part]


@pytest.mark.parametrize("path", ["/training/job_7", "/training/job_7/"])
def test_a_page_with_an_id_names_all_it_needs_once(preloads: Preloads, path: str) -> None:
    links = preloads.for_path(path)
    assert scripts(links) == [
        "/assets/root-1.js",
        "/assets/shared-1.js",
        "/assets/job-1.js",
        "/assets/live_chart-ab_-9.js",
        "/assets/plotly-basic.min-1.js",
    ]
    assert links is not None
    assert links.count('rel="modulepreload"') == 5


def test_a_page_without_curves_does_not_ask_for_their_library(preloads: Preloads) -> None:
    assert "/assets/plotly-basic.min-1.js" not in scripts(preloads.for_path("/models/mod_1"))


def test_a_page_with_its_own_document_adds_the_curves_only(preloads: Preloads) -> None:
    assert scripts(preloads.for_path("/training/compare")) == [
        "/assets/live_chart-ab_-9.js",
        "/assets/plotly-basic.min-1.js",
    ]
    assert preloads.for_path("/training/new") is None


@pytest.mark.parametrize("path", ["/", "/nowhere", "/training/job_7/more"])
def test_other_addresses_name_nothing(preloads: Preloads, path: str) -> None:
    assert preloads.for_path(path) is None


def test_without_a_build_nothing_is_named(tmp_path: Path) -> None:
    assert Preloads(tmp_path).for_path("/training/job_7") is None
