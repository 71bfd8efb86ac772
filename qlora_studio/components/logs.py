"""A log in the page: its end as it grows, or what is found in it."""

from typing import Any

import reflex as rx

from qlora_studio.frontend.scripts import script

_LIBRARY = script("log_view.jsx", __name__)


class LogView(rx.NoSSRComponent):
    """Lines of a job's log, asked from the REST API. `end` changes when there is more."""

    library = _LIBRARY
    tag = "LogView"

    job_id: rx.Var[str]
    attempt: rx.Var[str]
    level: rx.Var[str]
    search: rx.Var[str]
    end: rx.Var[str]


def log_view(*, job_id: Any, attempt: Any, level: Any, search: Any, end: Any) -> rx.Component:
    """The lines of an attempt, newest at the bottom, with what a search found marked.

    Args:
        attempt: Var of its number as text; empty for the newest.
        level: Var of the lowest level that is shown; empty for all.
        search: Var of what is looked for; empty for the end of the log.
        end: Var that changes when something was written.
    """
    return LogView.create(job_id=job_id, attempt=attempt, level=level, search=search, end=end)
