"""What is kept of a result in the job's row."""

from qlora_studio.contracts.enums import ExitReason
from qlora_studio.contracts.events import ResultFile
from qlora_studio.jobs import endings


def _kept(**extra: object) -> object:
    result = ResultFile(reason=ExitReason.OK, message="", step=1, extra=extra)
    return endings._from_result(result).get("report")


def test_a_matrix_of_very_many_classes_does_not_take_the_rest_with_it() -> None:
    rest = {"certificate": {"verdict": "improved"}, "probe": {"status": "passed"}}
    small, large = [[3, 1], [0, 4]], [[0] * 260] * 260
    assert _kept(**rest, confusion_matrix=small) == {**rest, "confusion_matrix": small}
    assert _kept(**rest, confusion_matrix=large) == rest
    assert _kept(anything="x" * endings.MAX_REPORT) is None
