"""What a sweep's page says."""

from typing import Any

from qlora_studio.contracts.enums import JobStatus
from qlora_studio.core.clock import utc_now
from qlora_studio.services.sweeps import SweepDetail, SweepRow
from qlora_studio.state.sweep_rows import sweep_rows, sweep_view


def row(number: int, rank: int, rate: float, best: float | None, **changes: Any) -> SweepRow:
    given = {"status": JobStatus.SUCCEEDED, "percent": 100.0, "base": 0.8, "is_best": False, "message": None}
    return SweepRow(
        job_id=f"job_{number}",
        name=f"j{number}",
        values={"qlora.rank": rank, "optimization.learning_rate": rate},
        best=best,
        adapter_id=None,
        **given | changes,
    )


def found(*rows: SweepRow) -> SweepDetail:
    return SweepDetail(
        id="grp_1", name="which", axes={"qlora.rank": [4, 8], "optimization.learning_rate": [0.001]},
        created_at=utc_now(), n_jobs=len(rows), statuses={}, metric="wer", is_higher_better=False,
        best_job_id=None, rows=list(rows),
    )  # fmt: skip


ROWS = (
    row(1, 16, 0.001, 0.5),
    row(2, 4, 0.0001, 0.25, is_best=True),
    row(3, 8, 0.01, None, status=JobStatus.QUEUED, percent=0.0, base=None),
    row(4, 8, 0.002, 0.7, status=JobStatus.RUNNING, percent=50.0),
)


def test_the_head_tells_how_far_it_is_and_what_is_best() -> None:
    view = sweep_view(found(*ROWS))
    assert (view.progress, view.percent, view.is_live) == ("2 of 4 jobs ended", 62.5, True)
    assert view.best == "rank 4, learning rate 0.0001: WER 25.0\u00a0%"
    assert (view.axis_1, view.axis_2, view.axis_3) == ("Rank", "Learning rate", "")
    assert not sweep_view(found(*ROWS[:2])).is_live
    assert sweep_view(found()).best == ""


def test_columns_are_sorted_by_value_and_not_by_text() -> None:
    def order(sort: str) -> list[str]:
        return [shown.id[-1] for shown in sweep_rows(found(*ROWS), sort)]

    assert order("") == ["1", "2", "3", "4"]
    assert order("value_1") == ["2", "3", "4", "1"]
    assert order("-value_2") == ["3", "4", "1", "2"]
    assert order("result") == ["2", "1", "4", "3"], "without a result: last"
    assert order("-result") == ["4", "1", "2", "3"], "the other way round too"
    assert order("value_3") == order("colour") == ["1", "2", "3", "4"], "an odd word sorts nothing"


def test_a_row_is_formatted() -> None:
    shown = sweep_rows(found(*ROWS))
    assert (shown[1].value_2, shown[1].result, shown[1].is_best) == ("0.0001", "25.0\u00a0%", True)
    assert (shown[2].result, shown[2].progress) == ("–", "–")
    assert shown[3].is_active
