"""An adapter with everything a job leaves beside it, without the job."""

import json
from typing import Any

from sqlmodel import Session

from qlora_studio.contracts.enums import JobStatus, TrainingType
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, User
from qlora_studio.storage import layout
from tests.jobs.workbench import make_dataset, make_model, make_spec

WRITTEN_CARD = """---
base_model: "mod_small"
library_name: peft
---
# prompts

| held-out (3 clips) | base | with adapter |
|---|---|---|
| wer | 0.5000 | 0.1000 |

Error rates are fractions: 0.1 is 10 %.

```python
from peft import PeftModel
base = Wav2Vec2BertForCTC.from_pretrained(
    "path/to/mod_small", dtype=torch.float32
)
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```
"""
EVENTS = (
    {"v": 1, "seq": 1, "ts": 1.0, "type": "started", "pid": 1, "device": "cpu", "versions": {"peft": "0.21"}},
    {"v": 1, "seq": 2, "ts": 2.0, "type": "metric", "step": 1, "values": {"loss": 2.0}},
)


def make_finished_job(session: Session, owner: User, *, attempts: int = 1, **names: Any) -> Job:
    """A job that has succeeded, with the logs and events of all its attempts."""
    dataset: Dataset = make_dataset(session, owner)
    model: BaseAudioModel = make_model(session, owner)
    job = Job(
        owner_id=owner.id,
        name=names.get("name", "prompts"),
        status=JobStatus.SUCCEEDED,
        attempt=attempts,
        training_type=TrainingType.QLORA,
        dataset_id=dataset.id,
        dataset_version=1,
        dataset_hash="c" * 64,
        model_id=model.id,
        spec=make_spec(dataset, model).model_dump(mode="json"),
    )
    session.add(job)
    session.commit()
    for number in range(1, attempts + 1):
        folder = layout.attempt_path(job.id, number)
        folder.mkdir(parents=True)
        (folder / "worker.log").write_text(f"attempt {number}\nHF_TOKEN=hf_secretsecret\n")
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    (layout.run_path(job.id) / "config.yaml").write_text("name: prompts\n")
    return job


def make_adapter(session: Session, owner: User, job: Job, *, name: str = "prompts", **values: Any) -> Adapter:
    """The adapter of a job, whose files are there."""
    folder = layout.run_path(job.id) / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"\0" * 5000)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "README.md").write_text(WRITTEN_CARD)
    facts = {"step": 8, "n_train": 6, "n_validation": 3, "train_hours": 0.5, "dataset_hash": "c" * 64}
    (folder / "qlora_studio.json").write_text(json.dumps(facts))
    adapter = Adapter(
        owner_id=owner.id,
        name=name,
        job_id=job.id,
        base_model_id=job.model_id,
        base_model_hash="b" * 64,
        dataset_id=job.dataset_id,
        dataset_version=1,
        path=str(folder),
        size_bytes=5000,
        metrics={"wer": 0.1, "cer": float("nan"), "step": 8},
        base_metrics={"wer": 0.5},
        certificate={"verdict": "improved", "sentence": "Fewer wrong words: 10 % instead of 50 %."},
        **values,
    )
    session.add(adapter)
    session.commit()
    return adapter
