"""What the pages say of an adapter."""

from pathlib import Path

from sqlmodel import Session

from qlora_studio.db.models import Adapter, User
from qlora_studio.services.adapter_schemas import AdapterView
from qlora_studio.services.lineage import Lineage, NodeKind, _adapter_node, _gone, _node
from qlora_studio.state.adapter_rows import adapter_row, metric_rows
from qlora_studio.state.adapters import AdapterState
from qlora_studio.state.lineage import lineage_view
from tests.jobs.workbench import make_model
from tests.services.test_adapters import add
from tests.state.calling import Opener, call


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


async def test_an_adapter_without_files_is_refused_and_asking_again_is_no_way_round(
    opened: Opener, session: Session, user: User
) -> None:
    adapter = add(session, make_model(session, user), "gone", certificate={"verdict": "broken"})
    weights = Path(adapter.path) / "adapter_model.safetensors"
    weights.unlink()
    state = opened(AdapterState, adapter_id=adapter.id)
    for _ in range(2):
        await call(state, "activate")
        assert "no longer on the disk" in state.refusal
        assert state.doubt == "", "nothing is offered that would be refused"
    weights.write_bytes(b"x")
    await call(state, "activate")
    assert (state.refusal, "is broken" in state.doubt) == ("", True)
    session.refresh(adapter)
    assert not adapter.is_active


async def test_a_doubt_about_an_adapter_is_shown_before_it_becomes_the_default(
    opened: Opener, session: Session, user: User
) -> None:
    made = add(session, make_model(session, user), "a", certificate={"verdict": "broken"})
    state = opened(AdapterState, adapter_id=made.id)
    await call(state, "activate")
    assert "is broken" in state.doubt
    await call(state, "set_strength", value="0.5")
    sent = await call(state, "activate")
    assert any("Adapter active" in one for one in sent)
    session.refresh(made)
    assert (made.is_active, made.active_strength) == (True, 0.5)


def test_a_lineage_is_laid_out_in_columns_without_overlap() -> None:
    graph = Lineage()
    here = graph.add(_adapter_node(Adapter(id="ada_1", name="a", version=1, path=""), 2))
    for n in range(3):
        graph.add(_node(NodeKind.DICTATION, 3, f"d{n}", f"run {n}"), after=here)
    graph.add(_gone(NodeKind.JOB, 1, "job_1"), before=here)
    shown = lineage_view(graph, "ada_1")
    assert len({(box.left, box.top) for box in shown.boxes}) == 5
    assert len(shown.lines) == 4
    boxes = {box.id: box for box in shown.boxes}
    assert boxes["adapter:ada_1"].is_here
    assert boxes["job:job_1"].href == ""
    assert boxes["dictation:d0"].after == "a"
    assert boxes["job:job_1"].top == boxes["adapter:ada_1"].top == boxes["dictation:d1"].top
