"""Work that a command does itself, told as it goes, when no server is there to do it."""

import threading
from collections.abc import Callable
from typing import TypeVar

from sqlmodel import Session

from qlora_studio.commands.console import say
from qlora_studio.db import engine as db

_LOOK_EVERY_S = 0.5
Found = TypeVar("Found")


def follow(
    work: Callable[[], None],
    *,
    read: Callable[[], Found],
    tell: Callable[[Found], str],
    call_off: Callable[[Session], object],
) -> Found:
    """Do it in a thread and say how far it is, each sentence once; Ctrl-C calls it off.

    Args:
        work: What is done; it keeps its own books.
        read: How it stands.
        tell: That in a sentence; an empty one isn't said.
        call_off: Ends it, in a session of its own.

    Returns:
        How it stood at the end.
    """
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    told = ""
    try:
        while worker.is_alive():
            worker.join(_LOOK_EVERY_S)
            now = tell(read())
            if now and now != told:
                told = now
                say(now)
    except KeyboardInterrupt:
        with db.write() as session:
            call_off(session)
        worker.join()
        raise
    return read()
