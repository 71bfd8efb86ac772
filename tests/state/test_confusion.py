"""What a job's page says of its confusion matrix."""

from qlora_studio.state.confusion import MAX_CLASSES, NOTHING, confusion_of


def test_rows_are_labels_and_the_worst_confusion_comes_first():
    shown = confusion_of({"classes": ["bass", "drum"], "confusion_matrix": [[3, 1], [2, 0]]})
    assert shown.columns == ["bass", "drum"]
    assert [(line.label, line.n_clips, line.recall) for line in shown.lines] == [
        ("bass", "4", "75\u00a0%"),
        ("drum", "2", "0\u00a0%"),
    ]
    assert [cell.text for cell in shown.lines[1].cells] == ["2", ""]
    assert shown.lines[0].cells[1].title == "1 of 4 clips of bass taken for drum"
    assert shown.worst == ["2 clips of drum taken for bass", "1 clip of bass taken for drum"]


def test_a_class_without_clips_has_no_share():
    shown = confusion_of({"classes": ["a", "b"], "confusion_matrix": [[0, 0], [0, 1]]})
    assert shown.lines[0].recall == "–"
    assert shown.worst == []


def test_a_large_matrix_shows_the_classes_with_most_mistakes():
    n = MAX_CLASSES + 10
    matrix = [[5 if i == j else 0 for j in range(n)] for i in range(n)]
    matrix[n - 1][0] = 4
    shown = confusion_of({"classes": [f"c{i}" for i in range(n)], "confusion_matrix": matrix})
    assert len(shown.lines) == MAX_CLASSES
    assert {"c0", f"c{n - 1}"} <= set(shown.columns)
    assert shown.hidden == "10 classes with fewer mistakes left out."


def test_a_report_without_a_matrix_shows_nothing():
    assert confusion_of({}) == NOTHING
    assert confusion_of({"classes": ["a"], "confusion_matrix": []}) == NOTHING
