"""Status badges (colour, icon and word) and progress."""

from typing import Any

import reflex as rx

# word -> (icon, tone, what people read)
_WORDS: dict[str, tuple[str, str, str]] = {
    "queued": ("clock", "neutral", "Queued"),
    "waiting": ("clock", "neutral", "Waiting"),
    "starting": ("loader-circle", "info", "Starting"),
    "running": ("loader-circle", "info", "Running"),
    "stopping": ("loader-circle", "warning", "Stopping"),
    "succeeded": ("circle-check", "success", "Succeeded"),
    "stopped": ("circle-stop", "neutral", "Stopped"),
    "cancelled": ("circle-slash", "neutral", "Cancelled"),
    "failed": ("circle-x", "danger", "Failed"),
    "lost": ("unplug", "danger", "Lost"),
    "ready": ("circle-check", "success", "Ready"),
    "processing": ("loader-circle", "info", "Processing"),
    "awaiting_files": ("upload", "neutral", "Awaiting files"),
    "error": ("circle-x", "danger", "Error"),
    "downloading": ("download", "info", "Downloading"),
    "checking": ("loader-circle", "info", "Checking"),
    "ok": ("circle-check", "success", "OK"),
    "excluded": ("eye-off", "neutral", "Excluded"),
    "rejected": ("circle-x", "danger", "Rejected"),
    "passed": ("circle-check", "success", "Passed"),
    "doubtful": ("triangle-alert", "warning", "Look at this"),
    "improved": ("trending-up", "success", "Improved"),
    "no_effect": ("minus", "neutral", "No effect"),
    "worse": ("trending-down", "warning", "Worse"),
    "broken": ("octagon-alert", "danger", "Broken"),
    "unmeasured": ("circle-dashed", "neutral", "Not measured"),
    "making": ("loader-circle", "info", "Making takes"),
    "open": ("circle-dot", "success", "Open"),
    "closed": ("lock", "neutral", "Closed"),
    "draft": ("pencil-line", "neutral", "Draft"),
    "candidate": ("flag", "info", "Candidate"),
    "production": ("rocket", "success", "Production"),
}
_TONES = {
    "neutral": "bg-muted text-muted-foreground",
    "info": "bg-info-soft text-info",
    "success": "bg-success-soft text-success",
    "warning": "bg-warning-soft text-warning",
    "danger": "bg-danger-soft text-danger",
    "primary": "bg-primary-soft text-primary-text",
}


def badge(label: Any, *, icon: str | None = None, tone: str = "neutral", spin: bool = False) -> rx.Component:
    """A small label."""
    marks = [rx.icon(icon, size=13, class_name="spinner" if spin else "", aria_hidden="true")] if icon else []
    return rx.el.span(
        *marks,
        label,
        class_name=f"inline-flex items-center gap-1 rounded-md px-1.5 py-0.5 text-xs font-medium whitespace-nowrap {_TONES[tone]}",
    )


def status_badge(status: Any) -> rx.Component | rx.Var:
    """The badge of a status word from `contracts.enums`; `status` is a string or a Var."""
    if isinstance(status, str):
        return _word_badge(status)
    return rx.match(status, *((word, _word_badge(word)) for word in _WORDS), badge(status))


def _word_badge(word: str) -> rx.Component:
    icon, tone, label = _WORDS[word]
    return badge(label, icon=icon, tone=tone, spin=icon == "loader-circle")


def progress_bar(
    percent: Any, *, label: Any = "Progress", active: Any = False, class_name: str = ""
) -> rx.Component:
    """A bar from 0 to 100. While `active`, light runs along it."""
    fill = "relative overflow-hidden h-full rounded-full bg-primary "
    moving = (
        rx.cond(active, fill + "progress-active", fill)
        if isinstance(active, rx.Var)
        else fill + "progress-active" * bool(active)
    )
    width = percent.to_string() + "%" if isinstance(percent, rx.Var) else f"{percent}%"
    return rx.el.div(
        rx.el.div(class_name=moving, style={"width": width}),
        role="progressbar",
        aria_label=label,
        aria_valuenow=percent,
        aria_valuemin="0",
        aria_valuemax="100",
        class_name=f"h-1.5 w-full rounded-full bg-subtle overflow-hidden {class_name}",
    )
