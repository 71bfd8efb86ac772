"""Model cards: what the Hub's own library reads in them, and that nobody's names can write in them."""

import json
import re

import pytest
from huggingface_hub import ModelCard
from sqlmodel import Session

from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, User
from qlora_studio.services import cards
from tests.services.outcomes import make_adapter, make_finished_job

HOSTILE = (
    "x\n---\nlicense: evil\n# T <script>alert(1)</script> [x](http://evil) ![](http://evil) "
    "`a` | cell | \u202e **b**{{'{'}} \x00"
)


@pytest.fixture
def job(session: Session, user: User) -> Job:
    return make_finished_job(session, user)


@pytest.fixture
def adapter(session: Session, user: User, job: Job) -> Adapter:
    return make_adapter(session, user, job)


def card_of(session: Session, adapter: Adapter) -> ModelCard:
    return ModelCard(cards.make_card(session, adapter=adapter))


def test_the_hubs_library_reads_metrics_before_and_after(session: Session, adapter: Adapter) -> None:
    data = card_of(session, adapter).data
    assert data.library_name == "peft"
    assert data.pipeline_tag == "automatic-speech-recognition"
    assert data.model_name == "prompts"
    results = {result.metric_name: result.metric_value for result in data.eval_results or []}
    assert results == {"WER with the adapter": 0.1, "WER of the base model": 0.5}
    assert {result.dataset_name for result in data.eval_results or []} == {"Call centre, held-out clips"}


def test_only_what_the_hub_has_is_named_as_base_and_dataset(
    session: Session, adapter: Adapter, job: Job
) -> None:
    data = card_of(session, adapter).data
    assert data.get("base_model") is None
    assert data.get("datasets") is None
    model, dataset = session.get_one(BaseAudioModel, job.model_id), session.get_one(Dataset, job.dataset_id)
    model.source = {"kind": "hub", "repo_id": "openai/whisper-tiny", "revision": "main"}
    model.license, model.languages = "Apache-2.0", ["en", "no", "not a language"]
    dataset.source = {"kind": "hub", "repo_id": "org/calls"}
    session.commit()
    card = card_of(session, adapter)
    assert card.data.base_model == "openai/whisper-tiny"
    assert card.data.datasets == ["org/calls"]
    assert card.data.language == ["en", "no"]
    assert card.data.license == "apache-2.0"
    assert '"openai/whisper-tiny", dtype' in card.text
    assert '"path/to/this/folder"' in card.text


def test_a_licence_that_the_hub_does_not_know_is_told_by_its_name(
    session: Session, adapter: Adapter, job: Job
) -> None:
    session.get_one(BaseAudioModel, job.model_id).license = "House rules 1"
    session.commit()
    data = card_of(session, adapter).data
    assert (data.license, data.get("license_name")) == ("other", "House rules 1")


def test_the_text_tells_data_parameters_effect_and_limits(session: Session, adapter: Adapter) -> None:
    text = card_of(session, adapter).text
    for part in (
        "| word error rate | 0.5000 | 0.1000 |",
        "Error rates are fractions",
        "**improved.** Fewer wrong words",
        "Trained on 6 clips (0.50 h).",
        "version 1",
        "| rank | 16 |",
        "| seed | 0 |",
        "peft 0.21",
        "3 held-out clips",
        "in 4 bits",
    ):
        assert part in text
    assert "nan" not in text


def test_names_can_not_write_in_the_card(session: Session, adapter: Adapter, job: Job) -> None:
    adapter.name = HOSTILE
    model, dataset = session.get_one(BaseAudioModel, job.model_id), session.get_one(Dataset, job.dataset_id)
    model.name = dataset.name = HOSTILE
    model.license = HOSTILE
    adapter.certificate = {"verdict": "improved", "sentence": HOSTILE}
    session.commit()
    card = card_of(session, adapter)
    assert card.data.license == "other"
    assert card.data.model_name == HOSTILE
    assert card.text.count("\n# ") + card.text.startswith("# ") == 1
    assert "<script" not in card.text
    assert "](http" not in card.text
    assert "\u202e" not in card.text
    assert "\x00" not in card.text
    assert not re.search(r"(?<!\\)\|[^\n]*cell", card.text)


def test_an_adapter_made_elsewhere_has_a_card_that_says_so(session: Session, user: User, job: Job) -> None:
    adapter = make_adapter(session, user, job, origin={"kind": "imported", "file": "lora.zip"})
    adapter.job_id, adapter.dataset_id, adapter.metrics, adapter.certificate = None, None, {}, {}
    session.commit()
    card = card_of(session, adapter)
    assert "made elsewhere" in card.text
    assert card.data.eval_results is None
    assert "## Results" not in card.text


def test_damaged_facts_cost_their_lines_only(session: Session, adapter: Adapter) -> None:
    for damaged in (json.dumps([1]), "{", json.dumps({"n_train": "many", "train_hours": None})):
        (layout_file(adapter)).write_text(damaged)
        assert "## Results" in cards.make_card(session, adapter=adapter)


def layout_file(adapter: Adapter):
    from pathlib import Path

    return Path(adapter.path) / "qlora_studio.json"
