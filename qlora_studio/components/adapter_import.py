"""Where the zip of an adapter made elsewhere is dropped or chosen; it is sent and checked at once."""

from typing import Any

import reflex as rx

from qlora_studio.components.player import CustomElement


def _taken(event: rx.Var[Any]) -> tuple[rx.Var[str]]:
    return (event.to(dict)["detail"].to(dict)["id"].to(str),)


class _StudioAdapterImport(CustomElement):
    """The custom element of `assets/js/adapter_import.js`."""

    tag = "StudioAdapterImport"
    _script = "adapter_import.js"

    on_taken: rx.EventHandler[_taken]


def adapter_import(*, model_id: Any, name_from: str, on_taken: Any) -> rx.Component:
    """A drop zone for one zip.

    Args:
        model_id: the base model it is for.
        name_from: id of the field with what it shall be called, read when the zip is sent.
        on_taken: called with the adapter's id once it was taken in.
    """
    attributes = {"model-id": model_id, "label-from": name_from}
    return _StudioAdapterImport.create(custom_attrs=attributes, on_taken=on_taken)
