"""The uploader: drop zone, a row for each file with progress, cancel and retry, and totals."""

from typing import Any

import reflex as rx

from qlora_studio.components.player import CustomElement


class _StudioUploader(CustomElement):
    """The custom element of `assets/js/uploader.js`."""

    tag = "StudioUploader"
    _script = "uploader.js"

    on_review: rx.EventHandler[rx.event.no_args_event_spec]


def uploader(
    owner_id: Any = "", *, kind: str = "datasets", replaces: bool = False, on_review: Any = None
) -> rx.Component:
    """Send files to a dataset or a model. Without an id, gather them in a form: `draft` there names the batch.

    Args:
        kind: what the id is of, "datasets" or "models".
        replaces: the files that were sent earlier were found wanting, so that chosen ones are sent in any case.
        on_review: called when all is sent and there are columns to look at (else taking in starts by itself), and
            when a model's check has begun.
    """
    attributes = {"dataset-id": owner_id, "kind": kind, **({"replaces": "true"} if replaces else {})}
    events = {} if on_review is None else {"on_review": on_review}
    return _StudioUploader.create(custom_attrs=attributes, **events)
