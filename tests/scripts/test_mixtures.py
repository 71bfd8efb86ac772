"""Mixtures of voices with known times."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from qlora_studio.audio.turns import Turn, from_rttm, speakers_of, to_rttm
from scripts import mixtures

TONES = {"low": 200.0, "high": 2000.0, "middle": 600.0}


@pytest.fixture
def voices(tmp_path: Path) -> dict[str, Path]:
    """Three voices of six clips each: a tone with silence around it."""
    folders = {}
    for name, pitch in TONES.items():
        folders[name] = tmp_path / name
        folders[name].mkdir()
        for index in range(6):
            t = np.arange(round((0.6 + 0.1 * index) * 8000)) / 8000
            sound = np.pad(0.5 * np.sin(2 * np.pi * pitch * t), (1600, 2400))
            soundfile.write(folders[name] / f"{index}.wav", sound, 8000)
    return folders


def test_clips_lose_their_silence_and_are_equally_loud(voices: dict[str, Path]) -> None:
    clips = mixtures.read_voice(voices["low"])
    assert [len(clip) / mixtures.RATE for clip in clips] == pytest.approx(
        [0.6, 0.7, 0.8, 0.9, 1.0, 1.1], abs=0.03
    )
    assert [float(np.sqrt(np.mean(clip**2))) for clip in clips] == pytest.approx(
        [mixtures.LEVEL] * 6, rel=1e-3
    )


def test_turns_are_where_the_sound_says_and_some_overlap(voices: dict[str, Path]) -> None:
    clips = {name: mixtures.read_voice(folder) for name, folder in voices.items()}
    recipe = mixtures.Recipe(seconds=12.0, overlap=0.5)
    n_overlaps = 0
    for seed in range(5):
        sound, turns = mixtures.mix(clips, recipe, np.random.default_rng(seed))
        assert len(sound) == 12 * mixtures.RATE
        speaks = np.zeros((len(sound), len(TONES)), dtype=bool)
        for turn in turns:
            column = speaks[:, list(TONES).index(turn.speaker)]
            here = slice(round(turn.start_s * mixtures.RATE), round(turn.end_s * mixtures.RATE))
            assert not column[here].any(), "nobody speaks over themselves"
            column[here] = True
        n_overlaps += int((speaks.sum(axis=1) > 1).any())
        assert speaks.sum(axis=1).max() <= 2
        silent, spoken = sound[~speaks.any(axis=1)], sound[speaks.any(axis=1)]
        assert np.sqrt(np.mean(silent**2)) < 0.1 * np.sqrt(np.mean(spoken**2))
    assert n_overlaps >= 3


def test_both_splits_are_written_with_their_turns_and_share_no_clip(
    voices: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    given = [f"--voice={name}={folder}" for name, folder in voices.items()]
    sizes = ["--n-train", "3", "--n-validation", "2", "--seconds", "6"]
    monkeypatch.setattr("sys.argv", ["mixtures", str(out), *given, *sizes])
    mixtures.main()
    assert len(list(out.rglob("*.wav"))) == len(list(out.rglob("*.rttm"))) == 5
    for path in out.rglob("*.rttm"):
        turns = from_rttm(path.read_text())
        assert path.read_text().split()[1] == path.stem
        assert len(speakers_of(turns)) >= 2
        assert soundfile.info(path.with_suffix(".wav")).duration == 6.0
    train, held_out = mixtures.split_clips(mixtures.read_voice(voices["low"]), np.random.default_rng(0))
    assert (len(train), len(held_out)) == (5, 1)
    assert not {clip.tobytes() for clip in train} & {clip.tobytes() for clip in held_out}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--voice={low}"], "no NAME=FOLDER"),
        (["--voice=a={low}", "--voice=a={high}"], "Two voices"),
        (["--voice=a={low}", "--voice=b={high}", "--seconds=0.9"], "too short for two"),
    ],
)
def test_what_cannot_be_mixed_is_told(
    given: list[str],
    reason: str,
    voices: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["mixtures", str(tmp_path / "out"), *(g.format(**voices) for g in given)])
    with pytest.raises(SystemExit):
        mixtures.main()
    assert reason in capsys.readouterr().err


def test_names_of_two_words_stay_two_people() -> None:
    lines = to_rttm("a talk", [Turn(0.0, 1.0, "ann lee"), Turn(1.0, 1.0, "ann ray"), Turn(2.0, 1.0, "")])
    assert [turn.speaker for turn in from_rttm(lines)] == ["ann_lee", "ann_ray", "<NA>"]
