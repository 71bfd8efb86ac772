"""The threat model names only what is there, and leaves out no kind of attack."""

import re
from pathlib import Path

from tests.security import table

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/threat-model.md").read_text()


def test_every_module_that_is_named_is_there() -> None:
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.py)`", PAGE)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / "qlora_studio" / path).exists()] == []


def test_every_kind_of_attack_has_its_place_and_none_is_made_up() -> None:
    lines = [line.split("|") for line in PAGE.splitlines()]
    told = set(re.findall(r"\b[A-Z]\d\b", " ".join(cells[-2] for cells in lines if len(cells) == 5)))
    assert told == set(table._ATTACKS)
