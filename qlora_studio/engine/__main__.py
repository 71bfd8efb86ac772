"""`python -m qlora_studio.engine`: serve requests until standard input ends."""

import sys
import traceback
from typing import TYPE_CHECKING

from qlora_studio.contracts.inference import EngineRequest
from qlora_studio.engine.channel import Cancelled, Channel, Order

if TYPE_CHECKING:
    from qlora_studio.engine.desk import Desk


def main() -> int:
    """Answer one request after the other; returns the exit status."""
    channel = Channel.over_standard_streams()
    desk: Desk | None = None
    while True:
        order = channel.next_order()
        try:
            if desk is None:
                order.progress("Starting")
                desk = _open_desk()
            order.answer(desk.answer(EngineRequest.model_validate(order.request), order))
        except Cancelled:
            order.report_cancelled()
        except Exception as error:
            _refuse(order, error)


def _open_desk() -> "Desk":
    """Import torch and what needs it, which takes seconds: only once somebody asks for something."""
    from qlora_studio.engine.desk import Desk

    return Desk()


def _refuse(order: Order, error: Exception) -> None:
    from qlora_studio.engine.refusals import sentence

    traceback.print_exc()
    order.refuse(sentence(error))


if __name__ == "__main__":
    sys.exit(main())
