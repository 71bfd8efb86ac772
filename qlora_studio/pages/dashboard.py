"""What is going on: the first page after signing in."""

import reflex as rx

from qlora_studio.components.feedback import empty_state
from qlora_studio.components.shell import studio_page
from qlora_studio.components.surfaces import card, grid, page_header, stat_card


@studio_page("/", title="Dashboard", section="dashboard")
def dashboard() -> rx.Component:
    """Counts, machine, activity."""
    return rx.fragment(
        page_header("Dashboard", "Your recordings, models and training at a glance."),
        grid(
            stat_card("Datasets", "0", icon="audio-lines", hint="0 s of audio"),
            stat_card("Models", "0", icon="box"),
            stat_card("Jobs", "0", icon="chart-spline"),
            stat_card("Adapters", "0", icon="layers"),
        ),
        card(empty_state("Nothing yet", "Add the example dataset to begin."), class_name="mt-6"),
    )
