"""What REST does, the command line does; or `docs/parity.md` says why it doesn't."""

import re
from pathlib import Path

import pytest
import typer.main

from qlora_studio.api import build_api
from qlora_studio.cli import app
from tests.commands.conftest import verbs

PAGE = Path(__file__).parents[2] / "docs/parity.md"
PREFIX = "/api/v1"
METHODS = {"get", "post", "put", "patch", "delete"}
_ROW = re.compile(r"\| `([A-Z]+ /[^`]*)` \| (.*?) ?\| ?(.*?) ?\|")


@pytest.fixture(scope="module")
def table() -> dict[str, tuple[list[str], str]]:
    """By operation: its verbs, and why there are none."""
    rows = [_ROW.fullmatch(line) for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert all(rows), "a line can't be read"
    found = {row[1]: (re.findall(r"`([^`]+)`", row[2]), row[3]) for row in rows if row}
    assert len(found) == len(rows), "an operation stands twice"
    return found


def test_every_operation_has_a_line_and_every_line_an_operation(
    table: dict[str, tuple[list[str], str]],
) -> None:
    paths = build_api().openapi()["paths"]
    there = {
        f"{method.upper()} {path.removeprefix(PREFIX)}"
        for path, methods in paths.items()
        for method in methods.keys() & METHODS
    }
    assert set(table) == there
    n_with = sum(bool(named) for named, _ in table.values())
    print(f"{n_with} of {len(there)} operations have verbs")


def test_a_line_names_verbs_that_are_there_or_a_reason(table: dict[str, tuple[list[str], str]]) -> None:
    known = {name for name, _ in verbs(typer.main.get_command(app))}
    for operation, (named, reason) in table.items():
        assert bool(named) != bool(reason), operation
        assert set(named) <= known, operation
