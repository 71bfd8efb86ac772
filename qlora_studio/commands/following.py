"""Work that a command does itself, told as it goes, when no server is there to do it."""

import threading
from collections.abc import Callable
from typing import TypeVar

from sqlmodel import Session

from qlora_studio.commands.progress import Bar
from qlora_studio.db import engine as db

_LOOK_EVERY_S = 0.5
Found = TypeVar("Found")
Told = tuple[str, float, float]  # a sentence, how much is done, of how much (0: nobody knows)


def follow(
    work: Callable[[], None],
    *,
    read: Callable[[], Found],
    tell: Callable[[Found], Told],
    call_off: Callable[[Session], object],
    quiet: bool = False,
) -> Found:
    """Do it in a thread and say how far it is; Ctrl-C calls it off.

    Args:
        work: What is done; it keeps its own books.
        read: How it stands.
        tell: That in words and numbers.
        call_off: Ends it, in a session of its own.
        quiet: Say nothing.

    Returns:
        How it stood at the end.
    """
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        with Bar(quiet=quiet) as bar:
            while worker.is_alive():
                worker.join(_LOOK_EVERY_S)
                bar.show(*tell(read()))
    except KeyboardInterrupt:
        with db.write() as session:
            call_off(session)
        worker.join()
        raise
    return read()
