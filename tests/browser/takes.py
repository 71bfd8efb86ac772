"""Takes as they are once made, put into a server's data folder: tones, one pitch a take."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import soundfile
from sqlmodel import Session, select

from qlora_studio.contracts.enums import GenerationStatus, ModelStatus, Task
from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import Adapter, BaseAudioModel, Generation, Take, User
from qlora_studio.services import tallies
from scripts.running import Server

RATE = 16_000


def tone(hertz: float, seconds: float = 0.6) -> np.ndarray:
    """A struck tone, (n,) at `RATE`."""
    t = np.arange(round(RATE * seconds)) / RATE
    return (0.5 * np.exp(-4 * t) * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


@contextmanager
def stored(server: Server, username: str) -> Iterator[tuple[Session, User]]:
    """Write into a server's database, as one of its people."""
    engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
    with Session(engine.execution_options(studio_write=True), expire_on_commit=False) as session:
        yield session, session.exec(select(User).where(User.username == username)).one()
        session.commit()
    engine.dispose()


def add_sound_model(server: Server, username: str, *, adapters: Sequence[str] = ()) -> tuple[str, list[str]]:
    """A model that would make sound, if it had files, and its adapters, the first one active; their ids."""
    with stored(server, username) as (session, owner):
        model = BaseAudioModel(
            owner_id=owner.id, name="Bells", task=Task.TEXT_TO_AUDIO, status=ModelStatus.READY
        )
        session.add(model)
        session.flush()
        made = [
            Adapter(owner_id=owner.id, base_model_id=model.id, name=name, path=f"/none/{name}")
            for name in adapters
        ]
        for adapter in made[:1]:
            adapter.is_active, adapter.active_strength = True, 0.8
        for adapter in made:
            session.add(adapter)
            session.flush()
    return model.id, [adapter.id for adapter in made]


def shelve(
    server: Server,
    username: str,
    prompts: Sequence[str],
    *,
    n_takes: int = 2,
    model_id: str = "mod_gone",
    adapter: tuple[str, str] | None = None,
    listening_test_id: str | None = None,
) -> list[str]:
    """Put takes of each text onto a person's shelf; returns their ids."""
    by = {"model_id": model_id, "listening_test_id": listening_test_id}
    if adapter is not None:
        by |= {"adapter_id": adapter[0], "adapter_name": adapter[1]}
    with stored(server, username) as (session, owner):
        made = [
            take
            for prompt in prompts
            for take in _generation(session, server, owner, prompt, n_takes=n_takes, by=by)
        ]
    return [take.id for take in made]


def _generation(
    session: Session, server: Server, owner: User, prompt: str, *, n_takes: int, by: dict[str, Any]
) -> list[Take]:
    generation = Generation(
        owner_id=owner.id, prompt=prompt, model_name="Bells", duration_s=1.0, seed=0, n_takes=n_takes,
        n_done=n_takes, guidance=3.0, temperature=1.0, status=GenerationStatus.SUCCEEDED, **by,
    )  # fmt: skip
    session.add(generation)
    session.flush()
    tallies.count_generation(session, generation)
    folder = server.data_path / "generations" / generation.id
    folder.mkdir(parents=True)
    takes = []
    for position in range(n_takes):
        take = Take(
            generation_id=generation.id, owner_id=owner.id, model_id=by["model_id"], position=position,
            seed=position, duration_s=0.6, sample_rate=RATE, size_bytes=19_244,
        )  # fmt: skip
        soundfile.write(folder / f"{take.id}.wav", tone(330 * (position + 1)), RATE, subtype="PCM_16")
        session.add(take)
        tallies.count_take(session, generation)
        takes.append(take)
    return takes
