import json

from qlora_studio.contracts.events import SampleEvent
from qlora_studio.jobs.events import EventReader


def line(seq, **values):
    return (
        json.dumps({"v": 1, "seq": seq, "ts": 1.0, "type": "phase", "name": "a", "label": "A"} | values)
        + "\n"
    )


def test_only_whole_lines_are_taken(tmp_path):
    path = tmp_path / "events.jsonl"
    whole = line(1)
    path.write_text(whole + line(2)[:10])
    reader = EventReader(path)
    assert [e.seq for e in reader.read()] == [1]
    assert reader.offset == len(whole)
    assert reader.read() == []
    path.write_text(whole + line(2))
    assert [e.seq for e in reader.read()] == [2]
    assert not reader.has_more()


def test_what_is_not_an_event_is_passed_over(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(
        "nonsense\n[1]\n" + line(1, type="of_next_year") + line("x") + line(3) + line(3) + line(4)
    )
    assert [e.seq for e in EventReader(path).read()] == [3, 4]


def test_a_file_that_is_not_there_yet_is_empty(tmp_path):
    reader = EventReader(tmp_path / "none.jsonl")
    assert not reader.has_more()
    assert reader.read() == []


def test_an_endless_line_does_not_stop_the_reader(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("x" * (3 << 20) + "\n" + line(1))
    reader = EventReader(path)
    seen = []
    while reader.has_more():
        seen += reader.read()
    assert [e.seq for e in seen] == [1]


def test_the_details_of_a_sample_are_what_only_its_task_tells():
    common = {"seq": 1, "ts": 1.0, "step": 3, "clip_id": "a", "reference": "drum", "now": "bass"}
    top = [{"label": "bass", "probability": 0.75}]
    assert SampleEvent(**common, top=top).details == {"top": top}
    assert SampleEvent(**common).details == {}
