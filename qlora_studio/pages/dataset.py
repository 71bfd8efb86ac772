"""The page of one dataset: its head, its tabs, and what is shown until it is ready."""

from typing import Any

import reflex as rx

from qlora_studio.components.buttons import link_button
from qlora_studio.components.details import tabs
from qlora_studio.components.resources import edit_dialogs, header_actions, page_of_one
from qlora_studio.components.shell import studio_page
from qlora_studio.components.status import status_badge
from qlora_studio.components.surfaces import page_header
from qlora_studio.pages import dataset_intake
from qlora_studio.pages.dataset_augment import augment_tab
from qlora_studio.pages.dataset_clips import clips_tab
from qlora_studio.pages.dataset_dictation import dictation_tab
from qlora_studio.pages.dataset_export import export_button, export_dialog
from qlora_studio.pages.dataset_overview import overview_tab
from qlora_studio.pages.dataset_quality import quality_tab
from qlora_studio.pages.dataset_split import split_dialog
from qlora_studio.pages.dataset_versions import versions_tab
from qlora_studio.pages.datasets import DELETED_WITH_IT
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_augment import AugmentState
from qlora_studio.state.dataset_clips import ClipsState
from qlora_studio.state.dataset_overview import DatasetChartsState
from qlora_studio.state.dataset_quality import QualityState
from qlora_studio.state.dataset_versions import VersionsState
from qlora_studio.state.dictations import DictationState

_LOADS = [
    DatasetState.load,
    DatasetState.watch,
    DatasetChartsState.load,
    ClipsState.load,
    QualityState.load,
    VersionsState.load,
    AugmentState.load,
    DictationState.load,
]


@studio_page(
    "/datasets/[dataset_id]",
    title="Dataset",
    section="datasets",
    crumbs=[("Datasets", "/datasets")],
    here=DatasetState.dataset.name,
    on_load=[*_LOADS, *dataset_intake.LOADS],
)
def dataset() -> rx.Component:
    """What is shown depends on how far the dataset is."""
    return page_of_one(DatasetState, DatasetState.dataset, "dataset", _loaded())


def _adapters_of(dataset_id: Any) -> rx.Component:
    return link_button("Adapters", href=rx.Var.create("/adapters?dataset_id=") + dataset_id, icon="layers")


def _loaded() -> rx.Component:
    shown = DatasetState.dataset
    return rx.fragment(
        page_header(
            shown.name,
            rx.el.span(
                status_badge(shown.status),
                rx.el.span(
                    rx.cond(shown.description != "", shown.description, shown.task), class_name="ml-2"
                ),
            ),
            rx.el.div(
                rx.cond(shown.status == "ready", _adapters_of(shown.id), rx.fragment()),
                rx.cond(shown.status == "ready", export_button(), rx.fragment()),
                *header_actions(DatasetState, shown, "dataset", train="Train on this"),
                class_name="flex flex-wrap items-center gap-2 max-w-[calc(100vw-2rem)]",
            ),
        ),
        rx.match(
            shown.status,
            ("awaiting_files", dataset_intake.awaiting()),
            ("processing", dataset_intake.processing()),
            ("error", _failed()),
            _ready(),
        ),
        edit_dialogs(DatasetState, shown, "dataset", consequence=DELETED_WITH_IT),
    )


def _ready() -> rx.Component:
    address = rx.Var.create("/datasets/") + DatasetState.dataset.id
    return rx.fragment(
        tabs(
            [
                ("overview", "Overview", address),
                ("clips", "Clips", address + "?tab=clips"),
                ("quality", "Quality", address + "?tab=quality"),
                (
                    "transcribe",
                    "Transcribe",
                    address + "?tab=transcribe",
                    DatasetState.dataset.is_speech & DatasetState.dataset.may_change,
                ),
                ("versions", "Versions", address + "?tab=versions"),
                ("augment", "Augment", address + "?tab=augment", DatasetState.dataset.may_change),
            ],
            current=DatasetState.tab,
        ),
        rx.match(
            DatasetState.tab,
            ("clips", clips_tab()),
            ("quality", quality_tab()),
            ("transcribe", dictation_tab()),
            ("versions", versions_tab()),
            ("augment", augment_tab()),
            overview_tab(),
        ),
        split_dialog(),
        export_dialog(),
    )


def _failed() -> rx.Component:
    n_left_out = DatasetState.dataset.n_left_out
    return rx.fragment(
        dataset_intake.failed(),
        rx.cond(n_left_out > 0, rx.el.div(clips_tab(), class_name="mt-6"), rx.fragment()),
    )
