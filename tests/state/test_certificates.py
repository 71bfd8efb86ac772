"""What the pages say of an effect certificate."""

from qlora_studio.contracts.certificate import Certificate, Comparison, LayerMove, OutputMoves, WeightMoves
from qlora_studio.contracts.enums import Verdict
from qlora_studio.db.models import Job
from qlora_studio.state.certificates import certificate_view
from qlora_studio.state.job_checks import check_rows, probe_doubt


def certificate() -> Certificate:
    return Certificate(
        verdict=Verdict.IMPROVED,
        sentence="Fewer wrong words.",
        weights=WeightMoves(
            n_layers=3,
            n_unmoved=1,
            n_not_finite=0,
            median=0.02,
            largest=0.5,
            layers=[LayerMove(name="a.q_proj", change=0.5), LayerMove(name="a.v_proj", change=0.02)],
        ),
        outputs=OutputMoves(n_clips=20, changed=0.75, broken=0.0, base_broken=0.0, change=42.0),
        metric="wer",
        error=Comparison(
            n_better=12,
            n_worse=3,
            n_same=5,
            before=0.5,
            after=0.3,
            difference=-0.2,
            low=-0.3,
            high=-0.1,
            p=2e-4,
        ),
    )


def test_figures_are_in_the_readers_units() -> None:
    view = certificate_view(certificate().model_dump(mode="json"))
    assert (view.verdict, view.sentence) == ("improved", "Fewer wrong words.")
    rows = {row.name: row.value for row in view.figures}
    assert rows["Layers that moved"] == "2 of 3"
    assert rows["Error per clip"] == "50.0\u00a0% → 30.0\u00a0%"
    assert rows["… difference, 95 % interval"] == "-30.0 to -10.0 points"
    assert rows["… by chance alone"] == "p < 0.001"
    assert rows["Change of the last layer's values"] == "more than 1,000\u00a0%"
    assert [(layer.change, layer.share) for layer in view.layers] == [
        ("50.0\u00a0%", 100.0),
        ("2.0\u00a0%", 4.0),
    ]


def test_no_certificate_and_a_strange_one_show_nothing() -> None:
    assert certificate_view({}).verdict == ""
    assert certificate_view({"verdict": "splendid"}).verdict == ""


def test_a_job_says_what_its_adapter_does() -> None:
    job = Job(owner_id="u", name="j", training_type="qlora", dataset_id="d", model_id="m")  # type: ignore[arg-type]
    assert check_rows(job) == []
    job.report = {"probe": {"status": "doubtful", "findings": ["No gradient reaches q_proj."]}}
    assert [(row.status, row.text) for row in check_rows(job)] == [
        ("doubtful", "No gradient reaches q_proj.")
    ]
    assert probe_doubt(job) == "No gradient reaches q_proj."
    job.report = {"certificate": certificate().model_dump(mode="json")}
    assert [(row.status, row.text) for row in check_rows(job)] == [("improved", "Fewer wrong words.")]
