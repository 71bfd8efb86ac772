"""How far work is: sentences where nobody watches, nothing for those who read JSON, a bar on a terminal."""

import io

import pytest
from rich.console import Console

from qlora_studio.commands import console, progress


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setattr(progress, "_TELL_EVERY_S", 0.0)
    return io.StringIO()


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("quiet", [True, False])
def test_it_is_told_as_the_place_allows(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch, is_terminal: bool, quiet: bool
) -> None:
    err = Console(file=written, force_terminal=is_terminal, width=100)
    for module in (console, progress):
        monkeypatch.setattr(module, "err", err)
    with progress.Bar(quiet=quiet) as bar:
        bar.show("Taking in: 3 of 9 [files]", 3, 9)
        bar.show("Taking in: 3 of 9 [files]", 3, 9)
    text = written.getvalue()
    assert ("Taking in: 3 of 9 [files]" in text) != quiet
    assert ("━" in text) == (is_terminal and not quiet)
    if not is_terminal and not quiet:
        assert text.count("Taking in") == 1, "each sentence once"
