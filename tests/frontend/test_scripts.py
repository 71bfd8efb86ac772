"""A component's script is found the short way where the framework finds it."""

from pathlib import Path

import pytest
import reflex as rx
from reflex.environment import environment

from qlora_studio.components import logs
from qlora_studio.frontend.scripts import script


def test_the_short_way_leads_to_the_frameworks_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def asset(name: str, *, shared: bool, _stack_level: int) -> object:
        raise AssertionError("the long way")

    monkeypatch.chdir(tmp_path)  # the framework links it into the app's folder
    environment.REFLEX_SKIP_COMPILE.set(False)
    linked = script("test_scripts.py", __name__)
    environment.REFLEX_SKIP_COMPILE.set(True)
    monkeypatch.setattr(rx, "asset", asset)
    try:
        assert script("test_scripts.py", __name__) == linked
        assert script("log_view.jsx", logs.__name__) == logs.LogView.library
    finally:
        environment.REFLEX_SKIP_COMPILE.set(None)
