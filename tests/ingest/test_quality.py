"""Each check finds what it should, and only that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qlora_studio.contracts.enums import ClipStatus, Split, Task
from qlora_studio.ingest.quality import BY_KEY, CheckedClip, Checks, find_all


def clip(number: int, **fields) -> CheckedClip:
    plain = CheckedClip(
        id=f"c{number}",
        sha256=f"{number:064d}",
        duration_s=2.0,
        loudness_db=-20.0,
        clipped_ratio=0.0,
        text=f"these are the words {number:03d}",
        label=None,
        speaker=None,
        split=Split.TRAIN,
        status=ClipStatus.OK,
        reason=None,
        fingerprint=None,
    )
    return plain._replace(**fields)


def found(
    clips, *, task=Task.SPEECH_TO_TEXT, find_similar=lambda items: [], **limits
) -> dict[str, list[str]]:
    by_check: dict[str, list[str]] = {}
    for finding in find_all(clips, task=task, limits=Checks(**limits), find_similar=find_similar):
        by_check.setdefault(finding.check, []).append(finding.clip_id)
    return by_check


GOOD = [clip(i) for i in range(30)]
OUT = {"status": ClipStatus.EXCLUDED}
CASES = {
    "silent": [{"loudness_db": -61.0}, {"loudness_db": None}],
    "clipped": [{"clipped_ratio": 0.002}],
    "too_short": [{"duration_s": 0.29, "text": "yes"}],
    "too_long": [{"duration_s": 30.5, "text": "these words are said slowly " * 14}],
    "missing_text": [{"text": None}, {"text": "  "}],
    "odd_pace": [{"text": "far too many words " * 30}, {"text": "x"}],
    "undecodable": [{"status": ClipStatus.REJECTED, "reason": "Truncated: it is cut."}],
}


@pytest.mark.parametrize(("check", "fields"), [(c, f) for c, several in CASES.items() for f in several])
def test_a_bad_clip_is_found_by_its_check_alone(check, fields):
    assert found([*GOOD, clip(99, **fields)]) == {check: ["c99"]}
    if check != "undecodable":
        assert found([*GOOD, clip(99, **fields | OUT)]) == {}, "it is left out already"


def test_good_clips_have_no_finding_in_any_task():
    for task in Task:
        assert found([c._replace(label="a") for c in GOOD], task=task) == {}


def test_what_could_not_be_used_for_want_of_words_is_found_as_that():
    reason = "No text: its text is empty or missing."
    assert found([clip(1, status=ClipStatus.REJECTED, reason=reason)]) == {"missing_text": ["c1"]}


def test_limits_move_the_border():
    odd = clip(
        99, loudness_db=-50.0, duration_s=4.0, clipped_ratio=0.0005, text="these are the words that are said"
    )
    assert found([*GOOD, odd]) == {}
    strict = found([*GOOD, odd], silent_below_db=-40, max_duration_s=3, clipped_above=0.0001)
    assert strict == {"silent": ["c99"], "clipped": ["c99"], "too_long": ["c99"]}


def test_limits_have_bounds():
    for bad in (
        {"silent_below_db": 5},
        {"clipped_above": 2},
        {"pace_deviations": 0},
        {"min_duration_s": float("nan")},
        {"min_duration_s": 31},
        {"nonsense": 1},
    ):
        with pytest.raises(ValidationError):
            Checks(**bad)


def test_the_same_words_and_the_same_bytes_are_groups():
    clips = [*GOOD, clip(90, text="These are the words 003!"), clip(91, sha256=GOOD[4].sha256)]
    findings = list(find_all(clips, task=Task.SPEECH_TO_TEXT, limits=Checks(), find_similar=lambda items: []))
    assert [(f.check, f.clip_id) for f in findings] == [
        ("duplicate_text", "c3"),
        ("duplicate_text", "c90"),
        ("duplicate_audio", "c4"),
        ("duplicate_audio", "c91"),
    ]
    assert findings[0].group == findings[1].group != findings[2].group == findings[3].group
    assert all(len(f.group or "") <= 64 for f in findings)


def test_the_same_sound_in_other_bytes_is_a_group_and_a_leak_over_splits():
    clips = [clip(i, fingerprint=bytes([i])) for i in range(3)] + [clip(3), clip(4, sha256=f"{1:064d}")]
    clips[1] = clips[1]._replace(split=Split.TEST)
    asked = []

    def find_similar(items):
        asked.extend(items)
        return [[f"{0:064d}", f"{1:064d}"]]

    result = found(clips, find_similar=find_similar)
    assert result["near_duplicate"] == ["c0", "c1", "c4"]
    assert result["duplicate_audio"] == ["c1", "c4"]
    assert result["audio_in_splits"] == ["c1"]
    assert [print_ for _, print_ in asked] == [b"\0", b"\1", b"\2"], "without a fingerprint nothing is asked"


def test_the_same_sound_is_a_group_only_while_its_recordings_differ():
    clips = [clip(0, fingerprint=b"a"), clip(1, fingerprint=b"b", **OUT), clip(2, sha256=f"{0:064d}")]
    result = found(clips, find_similar=lambda items: [[f"{0:064d}", f"{1:064d}"]])
    assert result == {"duplicate_audio": ["c0", "c2"]}, "what is left out is no reason to leave out another"


def test_a_speaker_in_two_splits_is_named_where_it_flatters():
    speakers = ["ada", "ada", "bob", None, None]
    splits = [Split.VALIDATION, Split.TRAIN, Split.TEST, Split.TRAIN, Split.TEST]
    clips = [clip(i, speaker=who, split=s) for i, (who, s) in enumerate(zip(speakers, splits, strict=True))]
    assert found(clips) == {"speaker_in_splits": ["c0"]}


def test_rare_classes_and_missing_labels():
    clips = [clip(i, label="dog", text=None) for i in range(20)]
    clips += [clip(30, label="cat", text=None), clip(31, label=None, text=None)]
    clips += [clip(40 + i, label="cow", text=None) for i in range(3)]
    result = found(clips, task=Task.AUDIO_CLASSIFICATION)
    assert result == {"missing_label": ["c31"], "rare_class": ["c30"]}
    assert "rare_class" not in found(clips, task=Task.AUDIO_CLASSIFICATION, rare_class_ratio=50)


def test_leaving_an_odd_one_out_makes_no_other_one_odd():
    clips = [clip(i, duration_s=1.5 + 0.05 * i) for i in range(40)]
    clips += [clip(50 + i, text="word " * (30 + 10 * i)) for i in range(12)]
    first = found(clips)["odd_pace"]
    assert first
    without = [c._replace(**OUT) if c.id in first else c for c in clips]
    assert found(without) == {}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", None]), st.sampled_from(list(Split))),
        max_size=20,
    )
)
def test_findings_fit_their_table(rows):
    clips = [clip(i, sha256=f"{s:064d}", speaker=who, split=at) for i, (s, who, at) in enumerate(rows)]
    findings = list(find_all(clips, task=Task.SPEECH_TO_TEXT, limits=Checks(), find_similar=lambda items: []))
    keys = [(f.clip_id, f.check) for f in findings]
    assert len(keys) == len(set(keys)), "one finding for a clip and check"
    assert all(f.check in BY_KEY and len(f.detail) <= 300 for f in findings)
