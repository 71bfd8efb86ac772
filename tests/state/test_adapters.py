"""What the pages say of an adapter."""

from qlora_studio.db.models import Adapter
from qlora_studio.services.adapters import AdapterView
from qlora_studio.state.adapters import adapter_row, metric_rows


def view(base: dict[str, float | None], now: dict[str, float | None]) -> AdapterView:
    adapter = Adapter(
        owner_id="usr", name="a", base_model_id="mod", base_model_hash="0" * 64, path="/a",
        base_metrics=base, metrics=now,
    )  # fmt: skip
    return AdapterView(adapter=adapter, model_name="m", dataset_name="d", job_name="j")


def test_fewer_word_errors_are_better():
    words = view({"wer": 0.8, "eval_loss": 2.0}, {"wer": 0.4, "eval_loss": 2.5})
    rows = {row.name: row for row in metric_rows(words)}
    assert (rows["Word error rate"].change, rows["Word error rate"].is_better) == ("-50\u00a0%", True)
    assert (rows["Held-out loss"].adapter, rows["Held-out loss"].is_better) == ("2.5", False)
    assert adapter_row(words).result == "WER 80.0\u00a0% → 40.0\u00a0%"


def test_more_is_better_of_an_accuracy():
    classes = view({"accuracy": 0.25, "macro_f1": 0.5}, {"accuracy": 0.75, "macro_f1": 0.5})
    rows = {row.name: row for row in metric_rows(classes)}
    assert rows["Accuracy"].is_better
    assert not rows["Macro F1"].is_better
    assert adapter_row(classes).result == "Accuracy 25.0\u00a0% → 75.0\u00a0%"


def test_an_adapter_that_was_not_measured_has_no_result():
    assert adapter_row(view({}, {})).result == "–"
    assert metric_rows(view({}, {})) == []
