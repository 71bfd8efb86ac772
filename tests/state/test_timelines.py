"""Who speaks when, as bars."""

from qlora_studio.audio.turns import Turn, cut, file_id_of, from_rttm, match_speakers, to_rttm
from qlora_studio.db.models import JobSample
from qlora_studio.state.job_samples import sample_row
from qlora_studio.state.timelines import NO_ANSWER, NOTHING, answer_line, timeline_of

REFERENCE = to_rttm("talk", [Turn(0, 4, "ann"), Turn(3, 5, "bob")])
ANSWER = to_rttm("talk", [Turn(0.5, 3, "speaker_2"), Turn(4, 4, "speaker_1"), Turn(9, 0.5, "speaker_3")])


def test_answers_have_the_names_and_lanes_of_those_they_share_time_with():
    shown = timeline_of(REFERENCE, None, ANSWER, duration_s=10.0)
    assert [speaker.name for speaker in shown.speakers] == ["ann", "bob", "nobody known"]
    assert [(bar.left, bar.width, bar.top) for bar in shown.reference.bars] == [
        ("0.00%", "40.00%", "0px"), ("30.00%", "50.00%", "12px"),
    ]  # fmt: skip
    assert [bar.colour for bar in shown.now.bars] == [speaker.colour for speaker in shown.speakers]
    assert (shown.reference.height, shown.now.height) == ("24px", "36px")
    assert shown.now.spoken == "ann 0.5 to 3.5 s; bob 4.0 to 8.0 s; nobody known 9.0 to 9.5 s."
    assert (shown.base.bars, shown.base.spoken, shown.end) == ([], "Nobody speaks.", "10 s")


def test_of_a_long_recording_the_beginning_is_shown():
    said = to_rttm("talk", [Turn(2.0 * index, 1.0, "ann") for index in range(300)])
    shown = timeline_of(said, said, said, duration_s=600.0)
    assert len(shown.now.bars) == 60
    assert shown.end == "2 min of 10 min"
    assert shown.now.spoken.endswith("ann 58.0 to 59.0 s; and 30 more turns.")


def test_a_text_is_no_timeline():
    assert timeline_of("Speaker, please hold", None, ANSWER, duration_s=1.0) is NOTHING
    sample = JobSample(job_id="j", step=1, clip_id="c", reference=REFERENCE, base=ANSWER, now="", error=0.25)
    row = sample_row(sample, None)
    assert (row.verdict, row.is_right, row.reference) == ("DER 25\u00a0%", False, "ann, bob, nobody known")
    assert not sample_row(
        JobSample(job_id="j", step=1, clip_id="c", reference="a", now="a"), None
    ).timeline.speakers


def test_turns_are_written_read_and_cut():
    turns = [Turn(3.0, 2.0, "bob"), Turn(0.5, 1.0, "ann")]
    assert from_rttm(to_rttm("a talk", turns)) == sorted(turns)
    assert file_id_of(to_rttm("a talk", turns)) == "a_talk"
    assert file_id_of("") == ""
    assert cut(turns, 1.0, 4.0) == [Turn(0.0, 0.5, "ann"), Turn(2.0, 1.0, "bob")]
    assert from_rttm("SPEAKER x 1 0 1\nhello\nSPEAKER x 1 a b <NA> <NA> y") == []


def test_each_speaker_is_matched_once():
    reference = [Turn(0, 10, "ann"), Turn(10, 1, "bob")]
    answer = [Turn(0, 6, "x"), Turn(6, 4.5, "y"), Turn(20, 1, "z")]
    assert match_speakers(reference, answer) == {"x": "ann", "y": "bob"}


def test_an_answer_alone_numbers_its_speakers_as_they_are_heard():
    shown = answer_line([Turn(2, 2, "speaker_1"), Turn(0, 1, "speaker_3")])
    assert [speaker.name for speaker in shown.speakers] == ["Speaker 1", "Speaker 2"]
    assert [(bar.left, bar.title) for bar in shown.line.bars] == [
        ("0.00%", "Speaker 1, 0.0 to 1.0 s"), ("50.00%", "Speaker 2, 2.0 to 4.0 s"),
    ]  # fmt: skip
    assert (shown.line.spoken, shown.end) == ("Speaker 1 0.0 to 1.0 s; Speaker 2 2.0 to 4.0 s.", "4.0 s")
    assert answer_line([]) is NO_ANSWER
