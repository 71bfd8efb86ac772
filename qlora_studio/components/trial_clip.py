"""A clip to try a model on: dropped, chosen or recorded with the microphone."""

from typing import Any

import reflex as rx

from qlora_studio.components.player import CustomElement


def _clip_sent(event: rx.Var[Any]) -> tuple[rx.Var[str]]:
    return (event.to(dict)["detail"].to(dict)["id"].to(str),)


class _StudioTrialClip(CustomElement):
    """The custom element of `assets/js/trial_clip.js`."""

    tag = "StudioTrialClip"
    _script = "trial_clip.js"

    on_sent: rx.EventHandler[_clip_sent]
    on_gone: rx.EventHandler[rx.event.no_args_event_spec]


def trial_clip(*, most_bytes: Any, most_s: Any, on_sent: Any, on_gone: Any) -> rx.Component:
    """Where a clip is dropped, chosen or recorded.

    Args:
        most_bytes: how large a clip may be.
        most_s: how long, in seconds.
        on_sent: called with the clip's id once the server has it.
        on_gone: called when the clip is taken away.
    """
    limits = {"most-bytes": most_bytes, "most-seconds": most_s}
    return _StudioTrialClip.create(custom_attrs=limits, on_sent=on_sent, on_gone=on_gone)
