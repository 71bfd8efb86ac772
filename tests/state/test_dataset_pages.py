"""What the pages of datasets show, and what their forms refuse."""

import base64
from typing import get_args

import numpy as np
import pytest

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, Split, Task
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db.models import Clip, Dataset
from qlora_studio.ingest.matching import LabelSource
from qlora_studio.state.dataset_form import _create
from qlora_studio.state.dataset_mapping import WORDS_FROM
from qlora_studio.state.dataset_rows import clip_row, peaks_text, view_of

NO_CLIPS = dict.fromkeys(Split, (0, 0.0))


def dataset(**fields) -> Dataset:
    return Dataset(owner_id="usr", name="d", task=Task.SPEECH_TO_TEXT, **fields)


def test_a_waveform_keeps_its_highest_and_lowest_bar():
    pairs = np.full((800, 2), 127, dtype=np.uint8)
    pairs[333] = (3, 250)
    shown = np.frombuffer(base64.b64decode(peaks_text(pairs.tobytes())), dtype=np.uint8).reshape(-1, 2)
    assert shown.shape == (100, 2)
    assert (shown[:, 0].min(), shown[:, 1].max()) == (3, 250)
    assert peaks_text(None) == ""


@pytest.mark.parametrize("source", get_args(LabelSource))
def test_the_page_says_where_labels_come_from(source):
    assert view_of(dataset(source={"labels": source}), NO_CLIPS).labels
    assert source in WORDS_FROM


def test_progress_and_shares_are_ready_to_show():
    busy = dataset(
        status=DatasetStatus.PROCESSING, progress_done=30, progress_total=120, duration_s=95.0, n_rejected=1
    )
    view = view_of(busy, NO_CLIPS)
    assert (view.percent, view.progress) == (25, "30 of 120 files, 95 s of audio")
    assert view.with_speed(41.7).speed == "42 clips a second"
    assert view_of(dataset(status=DatasetStatus.PROCESSING), NO_CLIPS).progress == "Looking at the files"
    ready = view_of(dataset(), {Split.TRAIN: (3, 60.0), Split.VALIDATION: (1, 20.0), Split.TEST: (0, 0.0)})
    assert (ready.train_percent, ready.validation, ready.test_percent) == (75.0, "1 clip, 20 s", 0.0)


def test_a_rejected_clip_shows_its_reason_and_no_sound():
    clip = Clip(dataset_id="ds", position=0, filename="x", status=ClipStatus.REJECTED, reason="Empty file: x")
    row = clip_row(clip)
    assert (row.duration, row.split, row.peaks, row.reason) == ("–", "", "", "Empty file: x")


def test_the_form_names_the_wrong_field(user):
    wrong = {"name": {"name": " ", "task": "speech-to-text"}, "task": {"name": "n", "task": "x"}}
    for field, form in wrong.items():
        with pytest.raises(InvalidInput) as refusal:
            _create(user, form, "upload")
        assert list(refusal.value.fields) == [field]
    with pytest.raises(InvalidInput) as refusal:
        _create(user, {"name": "n", "task": "speech-to-text", "path": "/etc"}, "folder")
    assert list(refusal.value.fields) == ["source.path"]
