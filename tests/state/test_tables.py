"""Two changes of a list in quick succession: the second builds on the first."""

from typing import Any

import pytest

from qlora_studio.state.adapters import AdaptersState
from qlora_studio.state.tables import TableState
from tests.state.calling import Opener, call

QUICK: list[tuple[list[tuple[str, dict[str, Any]]], str]] = [
    ([("show_as", {"view": ""}), ("filter_by", {"name": "tag", "value": "night"})], "/adapters?tag=night"),
    (
        [("filter_by", {"name": "tag", "value": "night"}), ("search", {"text": " far "})],
        "/adapters?view=cards&query=far&tag=night",
    ),
    ([("search", {"text": "far"}), ("clear_filters", {})], "/adapters?view=cards"),
    ([("sort_by", {"column": "name"}), ("sort_by", {"column": "name"})], "/adapters?view=cards&sort=-name"),
]


@pytest.mark.parametrize(("steps", "address"), QUICK)
async def test_a_second_change_before_the_page_has_come_keeps_the_first(
    opened: Opener, user: Any, steps: list[tuple[str, dict[str, Any]]], address: str
) -> None:
    state = opened(AdaptersState, {"view": "cards"})
    await call(state, "load")
    for name, values in steps:
        await call(state, name, **values)
    assert isinstance(state, TableState)
    assert sorted(state._address().split("?")[1].split("&")) == sorted(address.split("?")[1].split("&"))
