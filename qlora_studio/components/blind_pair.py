"""Two sounds to compare, by mouse, touch or keys, without knowing what made them."""

from typing import Any

import reflex as rx

from qlora_studio.frontend.scripts import script

_LIBRARY = script("blind_pair.jsx", __name__)


def _answered(pair_id: rx.Var[str], verdict: rx.Var[str]) -> list[rx.Var]:
    return [pair_id, verdict]


class BlindPair(rx.NoSSRComponent):
    """The component of `blind_pair.jsx`, which says which keys do what."""

    library = _LIBRARY
    tag = "BlindPair"

    pair: rx.Var[Any]
    upcoming: rx.Var[Any]
    is_busy: rx.Var[bool]
    can_undo: rx.Var[bool]
    on_answer: rx.EventHandler[_answered]
    on_undo: rx.EventHandler[rx.event.no_args_event_spec]


def blind_pair(
    pair: Any, upcoming: Any, *, is_busy: Any, on_answer: Any, can_undo: Any = False, on_undo: Any = None
) -> rx.Component:
    """A pair and the one after it, each a `state.pair_rows.PairView`.

    Args:
        is_busy: while an answer travels, no other one is taken.
        on_answer: gets the pair's id and `left`, `right`, `tie` or `skip`.
        on_undo: takes the last answer back; without it there is no such button.
    """
    events: dict[str, Any] = {"on_answer": on_answer}
    if on_undo is not None:
        events["on_undo"] = on_undo
    return BlindPair.create(pair=pair, upcoming=upcoming, is_busy=is_busy, can_undo=can_undo, **events)
