"""A value in a table that is edited where it stands, by keyboard."""

from collections.abc import Sequence
from typing import Any

import reflex as rx

from qlora_studio.frontend.scripts import script

_LIBRARY = script("editable_cell.jsx", __name__)


def _saved(row_id: rx.Var[str], field: rx.Var[str], value: rx.Var[str]) -> list[rx.Var]:
    return [row_id, field, value]


class EditableCell(rx.Component):
    """The component of `editable_cell.jsx`, which says which keys do what."""

    library = _LIBRARY
    tag = "EditableCell"

    row_id: rx.Var[str]
    field: rx.Var[str]
    group: rx.Var[str]
    value: rx.Var[str]
    label: rx.Var[str]
    placeholder: rx.Var[str]
    options: rx.Var[list[list[str]]]
    failures: rx.Var[int]
    on_save: rx.EventHandler[_saved]


def editable_cell(
    row_id: Any,
    field: str,
    value: Any,
    *,
    label: Any,
    failures: Any,
    on_save: Any,
    placeholder: str = "–",
    options: Sequence[tuple[str, str]] = (),
    group: str = "",
) -> rx.Component:
    """A value that Enter or a double click opens and Enter saves.

    Args:
        field: what is edited; Enter goes on to the next cell of the same field, or of the same `group`.
        label: the name for screen readers.
        failures: a Var that goes up when a change was refused, so that the former value is shown again.
        on_save: gets row id, field and the new value.
        options: (value, label) pairs to choose from instead of typing.
    """
    extra: dict[str, Any] = {"options": [list(pair) for pair in options]} if options else {}
    return EditableCell.create(
        row_id=row_id,
        field=field,
        group=group,
        value=value,
        label=label,
        placeholder=placeholder,
        failures=failures,
        on_save=on_save,
        **extra,
    )
