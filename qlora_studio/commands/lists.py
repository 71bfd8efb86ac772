"""Lists that come in pages: one of them printed, and a word where there are more."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from qlora_studio.commands.console import print_json, print_table, say

PAGE_SIZE = 100
PageNumber = Annotated[int, typer.Option("--page", min=1, help=f"Which page of {PAGE_SIZE}.")]


def print_page(
    found: list[Any],
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    total: int,
    page: int = 1,
    page_size: int = PAGE_SIZE,
    more: str = "",
    empty: str,
    as_json: bool,
) -> None:
    """Print one page of a list, as JSON or as a table; on standard error, how many there are if more.

    Args:
        found: What the JSON holds.
        rows: What the table holds.
        total: How many there are on all pages.
        more: The option that shows more; by default the next page.
        empty: Instead of a table, when there is nothing at all.
    """
    if as_json:
        print_json(found)
    else:
        print_table(columns, rows, empty=empty if not total else "There is no such page.")
    if len(found) < total:
        more = more or f"--page {page + 1}"
        say(f"{len(found):,} of {total:,} shown" + (f"; {more}" if page * page_size < total else ""))
