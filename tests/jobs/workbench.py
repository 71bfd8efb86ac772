"""A ready dataset and model in the database, for jobs to use; of their files there is only a config."""

import tempfile
from pathlib import Path
from typing import Any

from sqlmodel import Session

from qlora_studio.contracts.enums import ClipStatus, DatasetStatus, ModelStatus, Split, Task
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.db.models import BaseAudioModel, Clip, Dataset, User
from qlora_studio.modelfiles.prepare import content_hash
from qlora_studio.storage import layout


def make_dataset(session: Session, owner: User, *, n_train: int = 6, n_validation: int = 3) -> Dataset:
    dataset = Dataset(
        owner_id=owner.id,
        name="Call centre",
        task=Task.SPEECH_TO_TEXT,
        status=DatasetStatus.READY,
        version=1,
        content_hash="c" * 64,
        n_clips=n_train + n_validation,
        duration_s=2.0 * (n_train + n_validation),
    )
    session.add(dataset)
    session.flush()
    for i in range(n_train + n_validation):
        session.add(
            Clip(
                dataset_id=dataset.id,
                position=i,
                filename=f"{i}.flac",
                sha256=f"{i:064x}",
                duration_s=2.0,
                sample_rate=16_000,
                channels=1,
                text=f"please press {i}",
                split=Split.TRAIN if i < n_train else Split.VALIDATION,
                status=ClipStatus.OK,
            )
        )
    session.commit()
    return dataset


def make_model(session: Session, owner: User, *, data_path: Path | None = None) -> BaseAudioModel:
    """Store a model whose files are in `data_path`, by default that of this process."""
    folder = Path(tempfile.mkdtemp(prefix="small-recogniser-", dir=data_path or layout.data_path()))
    (folder / "config.json").write_text("{}")
    model = BaseAudioModel(
        owner_id=owner.id,
        name="Small recogniser",
        task=Task.SPEECH_TO_TEXT,
        architecture="Wav2Vec2BertForCTC",
        status=ModelStatus.READY,
        path=str(folder),
        n_parameters=2_000_000,
        size_bytes=8_000_000,
        sample_rate=16_000,
        lora_targets=["linear_q", "linear_v"],
        content_hash=content_hash(folder, []),
    )
    session.add(model)
    session.commit()
    return model


def spec_data(dataset: Dataset, model: BaseAudioModel, **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "prompts-r16",
        "dataset_id": dataset.id,
        "model_id": model.id,
        "optimization": {"max_steps": 8, "batch_size": 2},
        "evaluation": {"every_steps": 4, "save_every_steps": 4},
    }
    return data | changes


def make_spec(dataset: Dataset, model: BaseAudioModel, **changes: Any) -> TrainSpec:
    return TrainSpec.model_validate(spec_data(dataset, model, **changes))
