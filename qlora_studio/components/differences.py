"""How two texts differ, word by word."""

from typing import Any

import reflex as rx


def text_piece(piece: Any) -> rx.Component:
    """Some words of a text with a `kind`: `same`, `gone` or `new`."""
    return rx.fragment(
        rx.match(
            piece.kind,
            ("gone", rx.el.del_(piece.text, class_name="rounded px-0.5 bg-danger-soft text-danger")),
            (
                "new",
                rx.el.ins(piece.text, class_name="rounded px-0.5 bg-success-soft text-success no-underline"),
            ),
            rx.el.span(piece.text),
        ),
        " ",
    )
