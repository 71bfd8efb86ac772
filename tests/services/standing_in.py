"""Models for the stand-in of the inference process, which does what a model's folder is called."""

from sqlmodel import Session

from qlora_studio.contracts.enums import ModelStatus, Task
from qlora_studio.db.models import BaseAudioModel, User
from qlora_studio.modelfiles.prepare import content_hash
from qlora_studio.storage import layout


def ready_model(session: Session, owner: User, does: str, *, task: Task, name: str) -> BaseAudioModel:
    """A model on disk that may be asked at once; `does` is one of the words of `engine_stub`."""
    folder = layout.data_path() / "there" / does
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    model = BaseAudioModel(
        owner_id=owner.id,
        name=name,
        task=task,
        status=ModelStatus.READY,
        path=str(folder),
        content_hash=content_hash(folder, []),
    )
    session.add(model)
    session.commit()
    return model
