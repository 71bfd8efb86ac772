"""The uploader: drop zone, a row for each file with progress, cancel and retry, and totals."""

from typing import Any

import reflex as rx

from qlora_studio.components.player import CustomElement


class _StudioUploader(CustomElement):
    """The custom element of `assets/js/uploader.js`."""

    tag = "StudioUploader"
    _script = "uploader.js"

    on_review: rx.EventHandler[rx.event.no_args_event_spec]


def uploader(dataset_id: Any = "", *, replaces: bool = False, on_review: Any = None) -> rx.Component:
    """Send files to a dataset. Without an id, gather them in a form; its hidden field `draft` names the batch.

    Args:
        replaces: the files that were sent earlier were found wanting, so that chosen ones are sent in any case.
        on_review: called when all is sent and there are columns to look at; else taking in starts by itself.
    """
    attributes = {"dataset-id": dataset_id, **({"replaces": "true"} if replaces else {})}
    events = {} if on_review is None else {"on_review": on_review}
    return _StudioUploader.create(custom_attrs=attributes, **events)
