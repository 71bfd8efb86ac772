"""The names of the design tokens, given to Tailwind; their values are in `assets/theme.css`."""

from typing import Any

COLORS = """
background foreground card popover muted muted-foreground subtle border border-strong
primary primary-hover primary-foreground primary-text primary-soft ring
success success-soft warning warning-soft danger danger-hover danger-soft info info-soft
chart-1 chart-2 chart-3 chart-4 chart-5 chart-6
""".split()


def tailwind_tokens() -> dict[str, Any]:
    """Return the `theme.extend` of Tailwind's configuration: every colour is one of our variables."""
    return {
        "colors": {name: f"var(--{name})" for name in COLORS},
        "boxShadow": {"card": "var(--shadow)", "overlay": "var(--shadow-lg)"},
    }
