"""The card “Take it along” of a job's page: downloads, and how to look at the run elsewhere."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import classes, download_button, link_button, plain_link
from qlora_studio.components.surfaces import card
from qlora_studio.state.job_outcomes import OutcomesState


def take_along_card() -> rx.Component:
    """Results, with or without the merged model, TensorBoard's files, and the run in MLflow."""
    found = OutcomesState.outcomes
    return rx.el.div(
        card(
            rx.cond(
                (found.results != "") | (found.tensorboard != ""),
                rx.el.div(
                    rx.el.div(
                        _download(found.results, "Download results"),
                        _download(found.merged, "Results with the merged model"),
                        _download(found.tensorboard, "TensorBoard files"),
                        rx.cond(
                            found.push != "",
                            link_button("Push to the Hub", href=found.push, icon="upload"),
                            rx.fragment(),
                        ),
                        rx.cond(found.mlflow != "", _mlflow_link(found.mlflow), rx.fragment()),
                        class_name="flex flex-wrap gap-2",
                    ),
                    rx.cond(found.tensorboard != "", _how_to_look(), rx.fragment()),
                    class_name="flex flex-col gap-3",
                ),
                rx.el.p(
                    "There is nothing yet. Files for TensorBoard come with the first step.",
                    class_name="text-[13px] text-muted-foreground",
                ),
            ),
            title="Take it along",
            description="Adapter, model card, every point of every curve, logs of all attempts, and the parameters.",
        ),
        class_name="mt-4",
        on_mount=OutcomesState.load,
    )


def _download(href: Any, label: str) -> rx.Component:
    return rx.cond(href != "", download_button(label, href=href), rx.fragment())


def _mlflow_link(href: Any) -> rx.Component:
    return plain_link(
        rx.icon("external-link", size=16, aria_hidden="true"),
        "Open in MLflow",
        href=href,
        target="_blank",
        rel="noreferrer",
        class_name=classes(),
    )


def _how_to_look() -> rx.Component:
    return rx.el.p(
        "Unpack the TensorBoard files and run ",
        rx.el.code("tensorboard --logdir .", class_name="text-[12.5px] bg-muted rounded px-1.5 py-0.5"),
        " in their folder. They can be taken while the job runs.",
        class_name="text-[13px] text-muted-foreground",
    )
