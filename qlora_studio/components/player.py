"""The audio player: a waveform from stored peaks that can be played, scrubbed and driven by keys."""

from typing import Any, ClassVar

import reflex as rx

_FETCH_ONCE = "fetchMediaScript"
_FETCH_ONCE_CODE = f"""
function {_FETCH_ONCE}(name) {{
  if (document.querySelector(`script[src="/js/${{name}}"]`)) return;
  const script = document.createElement("script");
  script.type = "module";
  script.src = `/js/${{name}}`;
  const dress = document.createElement("link");
  dress.rel = "stylesheet";
  dress.href = "/js/media.css";
  if (!document.querySelector(`link[href="${{dress.getAttribute("href")}}"]`)) document.head.append(dress);
  document.head.append(script);
}}"""


class CustomElement(rx.Component):
    """A custom element of ours. The compiler makes JavaScript names from `tag`, which must have no dash.

    Its script is fetched only after React has taken over the page: an element that fills itself earlier would
    not match what React expects to find.
    """

    _script: ClassVar[str]

    def add_imports(self) -> dict[str, str]:
        """Effects are React's."""
        return {"react": "useEffect"}

    def add_hooks(self) -> list[str]:
        """Fetch the element's script and dress once."""
        return [f"useEffect(() => {_FETCH_ONCE}('{self._script}'), []);"]

    def add_custom_code(self) -> list[str]:
        """Give the tag's JavaScript name its meaning: `StudioPlayer` is `"studio-player"`."""
        name = "".join(f"-{c.lower()}" if c.isupper() else c for c in self.tag or "").lstrip("-")
        return [f'const {self.tag} = "{name}";', _FETCH_ONCE_CODE]


class _StudioPlayer(CustomElement):
    """The custom element of `assets/js/player.js`."""

    tag = "StudioPlayer"
    _script = "player.js"


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
        "seconds": duration_s,
        "peaks": peaks,
        "label": label,
    }
    return _StudioPlayer.create(custom_attrs=attributes)


def made_player(src: Any, *, duration_s: Any, peaks: Any, label: Any) -> rx.Component:
    """A player of a sound that a model made, at an address of its own; see `player`."""
    attributes = {"src": src, "seconds": duration_s, "peaks": peaks, "label": label}
    return _StudioPlayer.create(custom_attrs=attributes)


def varied_player(clip_id: Any, *, trial: Any, duration_s: Any, label: Any) -> rx.Component:
    """A player of a clip as training would hear it: fetched and drawn anew whenever `trial` changes.

    Args:
        trial: the body of `POST /clips/{id}/augmented`, as JSON.
    """
    attributes = {
        "src": rx.Var.create("/api/v1/clips/") + clip_id + "/augmented",
        "post": trial,
        "seconds": duration_s,
        "label": label,
    }
    return _StudioPlayer.create(custom_attrs=attributes)
