"""Components render, whatever they are given; the rest is looked at in the browser."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import reflex as rx

from qlora_studio.components import buttons, details, dialogs, feedback, forms, navigation, status, surfaces
from qlora_studio.components.tables import Column, data_table, menu_item, menu_separator, name_cell, row_menu
from qlora_studio.components.wizard import stepper
from qlora_studio.contracts import enums
from qlora_studio.state.auth import authorized
from qlora_studio.state.tables import TableState


@dataclass(frozen=True)
class Row:
    id: str
    name: str
    status: str
    clips: str


class ThingsState(TableState, rx.State):
    _path: ClassVar[str] = "/things"
    rows: list[Row] = []
    users: list[str] = []
    pairs: list[list[str]] = []
    is_open: bool = False
    text: str = ""
    step: int = 0
    percent: float = 0.0

    @rx.event
    @authorized()
    async def load(self):
        """Nothing."""

    @rx.event
    @authorized()
    async def take(self, text: str):
        """A text."""

    @rx.event
    @authorized()
    async def go(self, index: int):
        """An index."""


S = ThingsState


def table() -> rx.Component:
    return data_table(
        S,
        rows=S.rows,
        columns=[
            Column("Name", lambda r: name_cell(r.name, href="/things/" + r.id, detail=r.id), sort="name"),
            Column("Status", lambda r: status.status_badge(r.status)),
            Column("Clips", lambda r: r.clips, align="right", sort="n_clips"),
        ],
        empty=feedback.empty_state("Nothing yet", "Add one.", buttons.button("Add")),
        label="Things",
        row_menu=lambda r: row_menu(
            r.name, menu_item("Edit", icon="pencil", on_click=S.go(1)), menu_separator()
        ),
        filters=[("status", "Statuses", [("ready", "Ready")])],
        on_retry=S.load,
    )


MAKERS: list[Callable[[], rx.Component]] = [
    table,
    lambda: dialogs.confirm_dialog(
        is_open=S.is_open, title="Delete?", body=S.text, confirm_label="Delete", on_confirm=S.load,
        on_cancel=S.load, users=S.users, typed_name=S.text, expected_name="thing", on_type=S.take,
        sending=S.is_open,
    ),
    lambda: dialogs.dialog(rx.el.p("x"), is_open=S.is_open, title="Edit", on_close=S.load),
    lambda: stepper(["Dataset", "Model"], current=S.step, on_step=S.go),
    lambda: status.progress_bar(S.percent, active=S.is_open),
    lambda: status.progress_bar(40, label="Disk"),
    lambda: details.sparkline(S.text, label="Loss"),
    lambda: details.key_values(("a", S.text), ("b", "c"), columns=2),
    lambda: details.tabs([("a", "A", "/x?tab=a"), ("b", "B", "/x")], current=S.text),
    lambda: details.code_block(S.text),
    lambda: forms.text_field("Name", name="name", error=S.text, value=S.text, on_change=S.take),
    lambda: forms.number_field("Rank", name="rank", unit="s", help="How wide."),
    lambda: forms.textarea_field("Note", name="note", optional=True),
    lambda: forms.select_field("Model", name="model", options=S.pairs),
    lambda: forms.select_field("Task", name="task", options=[("a", "A")], error="Choose one."),
    lambda: forms.checkbox_field("Double quantisation", name="double", help="Saves memory."),
    lambda: forms.choice_card("Upload", "From here", icon="upload", selected=S.is_open, on_select=S.load),
    lambda: surfaces.stat_card("Datasets", S.percent, icon="audio-lines", hint="x", href="/datasets"),
    lambda: surfaces.notice("Mind the gap.", tone="warning"),
    lambda: buttons.button("Save", icon="save", loading=S.is_open, disabled=S.is_open),
    lambda: buttons.download_button("Download", href="/api/v1/x"),
    lambda: feedback.error_state(S.text, on_retry=S.load),
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_it_renders(make: Callable[[], rx.Component]) -> None:
    assert make().render()


def test_every_status_word_has_a_badge_with_icon_and_word() -> None:
    words = [
        word.value
        for enum in (
            enums.JobStatus,
            enums.DatasetStatus,
            enums.ModelStatus,
            enums.ClipStatus,
            enums.AdapterStage,
        )
        for word in enum
    ]
    for word in words:
        children = status.status_badge(word).render()["children"]
        assert len(children) == 2, word


def test_a_download_is_not_a_route() -> None:
    assert buttons.download_button("Download", href="/api/v1/x").render()["name"] == '"a"'
    assert buttons.page_link("x", href="/x").render()["name"] == "ReactRouterLink"


def test_the_sidebar_shows_what_exists() -> None:
    assert [s.key for s in navigation.sections()] == [
        "dashboard",
        "datasets",
        "models",
        "studio",
        "feedback",
        "training",
        "adapters",
        "settings",
        "admin",
    ]


def make_state(query: str) -> ThingsState:
    from reflex.istate.data import RouterData

    state = ThingsState(_reflex_internal_init=True)  # type: ignore[call-arg]
    url = RouterData.from_router_data({"pathname": "/things", "asPath": f"/things?{query}"})
    object.__setattr__(state, "_router_for_test", url)
    return state


@pytest.fixture(autouse=True)
def _router(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ThingsState, "router", property(lambda self: object.__getattribute__(self, "_router_for_test"))
    )


def test_the_address_holds_search_filters_sort_and_page() -> None:
    state = make_state("query=call&status=ready&sort=-name&page=3&page_size=50&evil=1")
    state._read_address()
    assert (state.query, state.sort, state.page, state.page_size) == ("call", "-name", 3, 50)
    assert state.filters == {"status": "ready"}
    assert state._address(page=1) == "/things?query=call&status=ready&sort=-name&page_size=50"
    assert state._address(query="", status="", sort="", page=1, page_size=25) == "/things"


@pytest.mark.parametrize("query", ["page=x&page_size=-4", "page=0&page_size=9999", "page=&sort=" + "x" * 999])
def test_odd_addresses_get_defaults(query: str) -> None:
    state = make_state(query)
    state._read_address()
    assert state.page == 1
    assert 1 <= state.page_size <= 100
    assert len(state.sort) <= 40


def test_range_and_pages() -> None:
    state = make_state("")
    state.total, state.page, state.page_size = 1204, 2, 25
    assert state.range_text == "26 to 50 of 1,204"
    assert state.n_pages == 49
