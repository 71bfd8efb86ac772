from qlora_studio.core.known import Known


def test_results_are_worked_out_once_and_forgotten_in_turn() -> None:
    known, asked = Known[int](most=2), []

    def work_out() -> int:
        asked.append(1)
        return len(asked)

    assert [known.get(key, work_out) for key in ("a", "a", "b", "c", "a", None, None)] == [
        1,
        1,
        2,
        3,
        4,
        5,
        6,
    ]
