"""The audio player: a waveform from stored peaks that can be played, scrubbed and driven by keys."""

from typing import Any

import reflex as rx


class CustomElement(rx.Component):
    """A custom element of ours. The compiler makes JavaScript names from `tag`, which must have no dash."""

    def add_custom_code(self) -> list[str]:
        """Give the tag's JavaScript name its meaning: `StudioPlayer` is `"studio-player"`."""
        name = "".join(f"-{c.lower()}" if c.isupper() else c for c in self.tag or "").lstrip("-")
        return [f'const {self.tag} = "{name}";']


class _StudioPlayer(CustomElement):
    """The custom element of `assets/js/player.js`."""

    tag = "StudioPlayer"


def media_assets(script: str) -> rx.Component:
    """The script and the style sheet that a custom element needs; React puts each into the page once."""
    return rx.fragment(
        rx.el.link(rel="stylesheet", href="/js/media.css", custom_attrs={"precedence": "default"}),
        rx.el.script(src=f"/js/{script}", custom_attrs={"async": True}),
    )


def player(clip_id: Any, *, duration_s: Any, peaks: Any, label: Any) -> rx.Component:
    """A player for one clip.

    Args:
        clip_id: whose recording is fetched, at the first press of Play.
        duration_s: in seconds, as a string or number.
        peaks: base64 of low and high bytes in turn, see `state.datasets.peaks_text`.
        label: the clip's name, for screen readers.
    """
    attributes = {
        "src": rx.Var.create("/api/v1/clips/") + clip_id + "/audio",
        "duration": duration_s,
        "peaks": peaks,
        "label": label,
    }
    return _StudioPlayer.create(custom_attrs=attributes)
