"""Clips to try models on: an hour and no more, few of each account, none taken from under a request."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qlora_studio.core.errors import NotFound, TooManyTries
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import User
from qlora_studio.services import trial_clips
from qlora_studio.services.trial_clips import KEPT_EACH, TrialClip


@pytest.fixture
def take_in(user: User, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrialClip]:
    """Take a clip in; what decodes is not under test."""
    sound = np.zeros(16, dtype="<f4").tobytes()
    monkeypatch.setattr(trial_clips, "_sampler", SimpleNamespace(render=lambda _: sound))

    def take(**options: Callable[[Path], bool]) -> TrialClip:
        return trial_clips.take_in(trial_clips.make_upload(actor=user), actor=user, **options)

    return take


def test_after_an_hour_it_is_given_to_nobody_though_nobody_swept(
    take_in: Callable[..., TrialClip], user: User
) -> None:
    clip, sound = take_in(), trial_clips.new_sound_path(actor=user)
    sound.write_bytes(b"RIFF")
    assert trial_clips.get_clip(clip.id, actor=user).path == clip.path
    assert trial_clips.get_sound(sound.stem, actor=user) == sound
    for path in (clip.path, sound):
        os.utime(path, (0, time.time() - trial_clips.KEPT_S - 1))
    with pytest.raises(NotFound):
        trial_clips.get_clip(clip.id, actor=user)
    with pytest.raises(NotFound):
        trial_clips.get_sound(sound.stem, actor=user)
    trial_clips.sweep()
    assert not clip.path.exists()


def test_a_clip_that_a_request_waits_with_stays(take_in: Callable[..., TrialClip]) -> None:
    awaited = take_in()
    os.utime(awaited.path, (0, time.time() - 60))
    clips = [take_in(is_in_use=lambda path: path == awaited.path) for _ in range(KEPT_EACH)]
    assert awaited.path.exists()
    assert [clip.path.exists() for clip in clips] == [True] * len(clips)
    take_in()
    assert not awaited.path.exists()
    assert len(list(awaited.path.parent.iterdir())) == KEPT_EACH


def test_a_file_that_another_request_removes_meanwhile_is_no_error(
    take_in: Callable[..., TrialClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = take_in()
    real, gone = Path.glob, kept.path.with_name("trc_gone.f32")
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [*real(self, pattern), gone])
    trial_clips.sweep()
    take_in()
    assert kept.path.exists()


def test_nobody_keeps_the_others_waiting(user: User, stranger: User) -> None:
    with trial_clips.turn(actor=user), trial_clips.turn(actor=user):
        with pytest.raises(TooManyTries), trial_clips.turn(actor=user):
            pass
        with trial_clips.turn(actor=stranger):
            assert trial_clips._decoding.total() == 3
    with trial_clips.turn(actor=user):
        assert trial_clips._decoding.total() == 1
    assert not trial_clips._decoding


def test_a_longer_limit_makes_room_for_longer_clips(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base64_bytes = 3600 * trial_clips.RATE * 4 * 4 / 3
    assert trial_clips._longest_answer() < base64_bytes
    monkeypatch.setattr(get_settings(), "max_trial_s", 3600.0)
    assert trial_clips._longest_answer() > base64_bytes
