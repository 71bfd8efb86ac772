"""The tabs of a dataset's page, called through their handlers: what they show, change and refuse."""

import json
from typing import Any

import pytest

from qlora_studio.contracts.enums import Role, Split
from qlora_studio.contracts.spec import AugmentationSpec, NoiseSpec
from qlora_studio.core.errors import InvalidInput
from qlora_studio.services.reports import Histogram, LabelCount
from qlora_studio.state import dataset_augment as augment
from qlora_studio.state.dataset import DatasetState
from qlora_studio.state.dataset_augment import AugmentState
from qlora_studio.state.dataset_clips import ClipsState
from qlora_studio.state.dataset_export import ExportState
from qlora_studio.state.dataset_overview import DatasetChartsState, bars_of, label_bars
from qlora_studio.state.dataset_quality import QualityState
from qlora_studio.state.dataset_split import SplitState, request_of
from qlora_studio.state.dataset_versions import Piece, VersionsState, word_pieces
from tests.services.test_datasets import get, launched, ready  # noqa: F401
from tests.services.test_reports import mixed  # noqa: F401
from tests.state.calling import Opener, call

pytestmark = pytest.mark.usefixtures("decoding_here")
TABS = [DatasetChartsState, ClipsState, QualityState, VersionsState, AugmentState]


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let background handlers lock a state that no server holds."""

    async def enter(self: Any) -> Any:
        return self

    async def leave(self: Any, *_: Any) -> None:
        return None

    for kind in (QualityState, SplitState, DatasetState):
        monkeypatch.setattr(kind, "__aenter__", enter, raising=False)
        monkeypatch.setattr(kind, "__aexit__", leave, raising=False)


async def test_only_the_open_tab_loads(opened: Opener, mixed) -> None:  # noqa: F811
    for kind, shown in zip(TABS, ("durations", "rows", "report", "rows", "clip"), strict=True):
        other = "clips" if kind is DatasetChartsState else "overview"
        state = opened(kind, {"tab": other}, dataset_id=mixed.id)
        before = getattr(state, shown)
        await call(state, "load")
        assert getattr(state, shown) == before, kind.__name__


async def test_the_charts_are_drawn_once_for_a_content(opened: Opener, user, mixed) -> None:  # noqa: F811
    state = opened(DatasetChartsState, dataset_id=mixed.id)
    await call(state, "load")
    assert sum(state.durations["y"]) == 4
    assert len(state.durations["y"]) <= 50
    assert not state.is_loading
    state.durations = {}
    await call(state, "load")
    assert state.durations == {}, "the same content isn't counted again"


def test_markup_in_names_of_classes_stays_text() -> None:
    rows = [
        LabelCount(label=name, n_clips=1, duration_s=1) for name in ("<a href='x'>b</a>", "a" * 30, "a" * 31)
    ]
    bars = label_bars(rows)
    assert bars["y"][0].startswith("&lt;a href")
    assert len(set(bars["y"])) == 3, "bars that are cut to the same name stay apart"
    assert "<" not in "".join(bars["customdata"])


def test_the_last_bar_says_that_it_is_open() -> None:
    bars = bars_of(Histogram(edges=[0, 1, 2], counts=[3, 4], is_open=True), "s")
    assert (bars["x"], bars["y"], bars["width"]) == ([0.5, 1.5], [3, 4], [1, 1])
    assert bars["customdata"] == ["0 to 1 s", "1 s and more"]


async def test_a_correction_stays_in_its_row_and_makes_a_version(opened: Opener, user, mixed) -> None:  # noqa: F811
    state = opened(ClipsState, {"tab": "clips", "split": "train"}, dataset_id=mixed.id)
    await call(state, "load")
    row = state.rows[0]
    await call(state, "correct", clip_id=row.id, field="split", value="validation")
    assert state.rows[0].split == "validation", "still there, though it is filtered by train"
    assert get(user, mixed.id).version == mixed.version + 1
    await call(state, "correct", clip_id=row.id, field="text", value="<b>new</b>")
    assert state.rows[0].text == "<b>new</b>"


async def test_a_refused_correction_says_so_and_shows_the_former_value(
    opened: Opener,
    user,
    mixed,  # noqa: F811
) -> None:
    state = opened(ClipsState, {"tab": "clips"}, dataset_id=mixed.id)
    await call(state, "load")
    row = state.rows[0]
    sent = await call(state, "correct", clip_id=row.id, field="text", value="x" * 5000)
    assert "longer than fits" in "".join(sent)
    assert (state.failures, state.rows[0].text) == (1, row.text)
    for wrong in ({"field": "status", "value": "ok"}, {"field": "sha256", "value": "0"}):
        assert await call(state, "correct", clip_id=row.id, **wrong)
    assert get(user, mixed.id).version == mixed.version


async def test_clips_of_a_check_say_what_it_found(opened: Opener, user, mixed) -> None:  # noqa: F811
    state = opened(ClipsState, {"tab": "clips", "check": "duplicate_audio"}, dataset_id=mixed.id)
    await call(state, "load")
    assert [row.filename for row in state.rows] == ["a.wav", "b.wav", "c.wav"]
    assert all("3 of them" in [f.detail for f in row.findings] for row in state.rows)
    assert ["duplicate_audio", "Same recording"] in state.checks
    assert state._address(page=2) == f"/datasets/{mixed.id}?check=duplicate_audio&page=2&tab=clips"


async def test_details_open_one_at_a_time(opened: Opener, user, mixed) -> None:  # noqa: F811
    state = opened(ClipsState, {"tab": "clips"}, dataset_id=mixed.id)
    await call(state, "load")
    first, second = state.rows[0].id, state.rows[1].id
    for asked, shown in ((first, first), (second, second), (second, "")):
        await call(state, "expand", clip_id=asked)
        assert state.expanded == shown


async def test_what_a_check_found_is_left_out_and_taken_back(
    opened: Opener,
    beside,
    user,
    mixed,  # noqa: F811
) -> None:
    state = opened(QualityState, {"tab": "quality"}, dataset_id=mixed.id)
    await call(state, "load")
    row = next(row for row in state.report.found if row.key == "duplicate_audio")
    assert (row.found, row.leave_out) == ("3 clips in 1 group", "Leave out 2")
    sent = "".join(await call(state, "leave_out", check="duplicate_audio"))
    assert "2 clips left out" in sent
    assert "Undo" in sent
    await call(state, "load")
    assert state.is_computing, "the content has changed"
    await call(state, "compute")
    assert not state.is_computing
    assert state.report.is_current
    assert "2 clips left out" in "".join(await call(state, "leave_out", check="duplicate_audio")), (
        "a double click"
    )
    assert get(user, mixed.id).n_clips == mixed.n_clips - 2
    made = state.report.exclusions[0]
    assert (made.title, made.count) == ("Same recording", "2 clips")
    sent = "".join(await call(state, "undo", dataset_id=mixed.id, exclusion_id=made.id))
    assert "2 clips are back in use" in sent
    assert get(user, mixed.id).content_hash == mixed.content_hash


async def test_limits_have_bounds(opened: Opener, beside, user, mixed) -> None:  # noqa: F811
    state = opened(QualityState, {"tab": "quality"}, dataset_id=mixed.id)
    for form, field in (
        ({"max_duration_s": "x"}, "max_duration_s"),
        ({"max_duration_s": "-1"}, "max_duration_s"),
        ({"odd": "1"}, "odd"),
    ):
        await call(state, "save_limits", form=form)
        assert list(state.field_errors) == [field]
    await call(state, "save_limits", form={"min_duration_s": "40"})
    assert "shortest" in state.field_errors["spec"]
    await call(state, "save_limits", form={"min_duration_s": "2"})
    assert state.field_errors == {}
    await call(state, "compute")
    assert any(row.key == "too_short" for row in state.report.found)


async def test_a_viewer_may_look_but_not_change(opened: Opener, session, user, mixed) -> None:  # noqa: F811
    user.role = Role.VIEWER
    session.add(user)
    session.commit()
    for kind, handler, arguments in (
        (ClipsState, "correct", {"clip_id": "x", "field": "text", "value": "y"}),
        (ClipsState, "leave_out", {"clip_id": "x", "is_out": True}),
        (QualityState, "leave_out", {"check": "silent"}),
        (QualityState, "save_limits", {"form": {}}),
        (SplitState, "apply", {}),
        (VersionsState, "restore", {}),
        (AugmentState, "save", {}),
    ):
        state = opened(kind, dataset_id=mixed.id)
        assert "role" in "".join(await call(state, handler, **arguments)), handler
    assert get(user, mixed.id).version == mixed.version


async def test_a_split_is_shown_before_it_is_used(opened: Opener, beside, user) -> None:
    dataset = ready(user, n=10)
    state = opened(SplitState, dataset_id=dataset.id)
    await call(state, "open", by_speaker=False)
    await call(state, "apply")
    assert get(user, dataset.id).version == 1, "nothing was shown yet"
    await call(state, "plan", form={"validation": "40", "test": "10", "seed": "3"})
    assert [part.clips for part in state.preview.parts] == ["5", "4", "1"]
    assert get(user, dataset.id).version == 1
    await call(state, "start_over")
    assert state.preview.moved == ""
    await call(
        state,
        "plan",
        form={"validation": "40", "test": "10", "seed": "3", "by_speaker": False, "stratify": None},
    )
    sent = "".join(await call(state, "apply"))
    assert "dealt out anew" in sent
    assert (get(user, dataset.id).version, state.dialog) == (2, "")


async def test_a_split_of_another_content_than_was_shown_is_not_used(opened: Opener, beside, user) -> None:
    dataset = ready(user, n=10)
    state = opened(SplitState, dataset_id=dataset.id)
    await call(state, "plan", form={"validation": "30"})
    clips = opened(ClipsState, {"tab": "clips"}, dataset_id=dataset.id)
    await call(clips, "load")
    await call(clips, "correct", clip_id=clips.rows[0].id, field="text", value="meanwhile")
    state = opened_again(opened, state, dataset.id)
    assert "has changed meanwhile" in "".join(await call(state, "apply"))
    assert get(user, dataset.id).version == 2


def opened_again(opened: Opener, state: SplitState, dataset_id: str) -> SplitState:
    """The same dialog, once its router is its own again."""
    again = opened(SplitState, dataset_id=dataset_id)
    again._request, again._content = state._request, state._content
    return again


def test_shares_come_in_percent() -> None:
    request = request_of(
        {"validation": "20", "test": "10", "seed": "3", "by_speaker": "on", "has_labels": "1"}
    )
    assert request.ratios[Split.TRAIN] == pytest.approx(0.7)
    assert (request.seed, request.stratify, request.group_by_speaker) == (3, False, True)
    assert request_of({}).stratify is None
    for form, field in (
        ({"validation": "many"}, "validation"),
        ({"test": "95"}, "test"),
        ({"validation": "nan"}, "validation"),
        ({"seed": "-1"}, "seed"),
        ({"seed": "1.5"}, "seed"),
    ):
        with pytest.raises(InvalidInput) as refusal:
            request_of(form)  # type: ignore[arg-type]
        assert list(refusal.value.fields) == [field]


def test_words_are_compared_as_they_are_written() -> None:
    assert word_pieces("hold the line", "Hold the line please") == [
        Piece("hold", "gone"),
        Piece("Hold", "new"),
        Piece("the line", "same"),
        Piece("please", "new"),
    ]
    assert word_pieces("", "") == []


async def test_versions_are_listed_compared_and_restored(opened: Opener, user) -> None:
    dataset = ready(user, n=3)
    clips = opened(ClipsState, {"tab": "clips"}, dataset_id=dataset.id)
    await call(clips, "load")
    await call(clips, "correct", clip_id=clips.rows[0].id, field="text", value="text nought")
    await call(clips, "leave_out", clip_id=clips.rows[1].id, is_out=True)
    state = opened(VersionsState, {"tab": "versions"}, dataset_id=dataset.id)
    await call(state, "load")
    assert [(row.number, row.who, row.is_present) for row in state.rows] == [
        (3, "you", True), (2, "you", False), (1, "the studio", False),
    ]  # fmt: skip
    query = {"tab": "versions", "earlier": "1", "later": "3"}
    state = opened(VersionsState, query, dataset_id=dataset.id)
    await call(state, "load")
    assert [(row.filename, row.kind) for row in state.differences] == [
        ("0.wav", "changed"),
        ("1.wav", "removed"),
    ]
    assert [piece.kind for piece in state.differences[0].fields[0].pieces] == ["same", "gone", "new"]
    assert state.counts == {"added": "0", "removed": "1", "changed": "1"}
    state = opened(VersionsState, query | {"kind": "removed"}, dataset_id=dataset.id)
    await call(state, "load")
    assert [row.filename for row in state.differences] == ["1.wav"]
    await call(state, "ask_restore", number=1)
    assert "restored as version 4" in "".join(await call(state, "restore"))
    assert (get(user, dataset.id).content_hash, state.restoring) == (dataset.content_hash, 0)


@pytest.mark.parametrize("odd", ["0", "-1", "x", "99", "\u0661", "9" * 30])
async def test_odd_versions_in_an_address_are_an_error_or_the_list(opened: Opener, user, odd: str) -> None:
    dataset = ready(user, n=2)
    query = {"tab": "versions", "earlier": "1", "later": odd}
    state = opened(VersionsState, query, dataset_id=dataset.id)
    await call(state, "load")
    assert not state.is_loading
    assert bool(state.load_error) == (odd == "99")


async def test_an_export_says_what_it_would_be(opened: Opener, user) -> None:
    dataset = ready(user, n=4)
    state = opened(ExportState, dataset_id=dataset.id)
    await call(state, "open")
    assert (state.dialog, state.export.clips) == ("export", "4 clips")
    assert state.export.href == f"/api/v1/datasets/{dataset.id}/export?format=audiofolder&version=1"
    assert "qlora-studio train" in state.export.command
    await call(state, "choose", format="csv")
    assert "format=csv" in state.export.href
    await call(state, "set_version", number="x")
    assert list(state.field_errors) == ["version"]
    assert "no version 7" in "".join(await call(state, "set_version", number="7"))
    assert state.export.version == "1"


async def test_an_augmentation_is_tried_then_kept(opened: Opener, user) -> None:
    dataset = ready(user, n=3)
    state = opened(AugmentState, {"tab": "augment"}, dataset_id=dataset.id)
    await call(state, "load")
    assert (state.trial, any(state.on.values()), state.is_changed) == ("", False, False)
    assert state.clip.split == "train"
    await call(state, "switch", part="noise", is_on=True)
    await call(state, "set_value", name="noise.probability", text="100")
    await call(state, "draw_again")
    asked = json.loads(state.trial)
    assert (asked["augmentation"]["noise"]["probability"], asked["epoch"]) == (1.0, 1)
    await call(state, "set_value", name="noise.min_snr_db", text="70")
    assert list(state.field_errors) == ["noise"]
    assert json.loads(state.trial) == asked, "a wrong field asks for what was asked before"
    await call(state, "set_value", name="noise.min_snr_db", text="5")
    await call(state, "load")
    assert state.values["noise.min_snr_db"] == "5", "what isn't saved yet survives another clip"
    assert get(user, dataset.id).augmentation == {}
    assert "Saved" in "".join(await call(state, "save"))
    kept = AugmentationSpec.model_validate(get(user, dataset.id).augmentation)
    assert kept == AugmentationSpec(noise=NoiseSpec(probability=1, min_snr_db=5))
    assert get(user, dataset.id).version == dataset.version
    await call(state, "switch", part="noise", is_on=False)
    await call(state, "save")
    assert get(user, dataset.id).augmentation == AugmentationSpec().model_dump(exclude_none=True)


def test_fields_of_parts_come_back_as_they_went() -> None:
    spec = AugmentationSpec(noise=NoiseSpec(probability=0.35))
    on, values = augment.switches_of(spec), augment.values_of(spec)
    assert values["noise.probability"] == "35"
    assert augment.spec_of(on, values) == spec


async def test_the_head_counts_once_for_a_content(
    opened: Opener, user, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = ready(user, n=3)
    state = opened(DatasetState, dataset_id=dataset.id)
    await call(state, "load")
    assert state.dataset.train_percent > 0
    monkeypatch.setattr("qlora_studio.services.datasets.count_splits", None)
    await call(state, "refresh")
    assert state.dataset.train_percent > 0
