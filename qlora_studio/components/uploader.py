"""The uploader: drop zone, a row for each file with progress, cancel and retry, and totals."""

from typing import Any

import reflex as rx

from qlora_studio.components.player import CustomElement


class _StudioUploader(CustomElement):
    """The custom element of `assets/js/uploader.js`."""

    tag = "StudioUploader"
    _script = "uploader.js"


def uploader(dataset_id: Any = "") -> rx.Component:
    """Send files to a dataset. Without an id, gather them in a form; its hidden field `draft` names the batch."""
    return _StudioUploader.create(custom_attrs={"dataset-id": dataset_id})
