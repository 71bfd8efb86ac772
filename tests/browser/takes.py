"""Takes as they are once made, put into a server's data folder: tones, one pitch a take."""

from collections.abc import Sequence

import numpy as np
import soundfile
from sqlmodel import Session, select

from qlora_studio.contracts.enums import GenerationStatus
from qlora_studio.db.engine import make_engine
from qlora_studio.db.models import Generation, Take, User
from qlora_studio.services import tallies
from scripts.running import Server

RATE = 16_000


def tone(hertz: float, seconds: float = 0.6) -> np.ndarray:
    """A struck tone, (n,) at `RATE`."""
    t = np.arange(round(RATE * seconds)) / RATE
    return (0.5 * np.exp(-4 * t) * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def shelve(server: Server, username: str, prompts: Sequence[str], *, n_takes: int = 2) -> list[str]:
    """Put takes of each text onto a person's shelf; returns their ids."""
    engine = make_engine(f"sqlite:///{server.data_path / 'studio.db'}")
    with Session(engine.execution_options(studio_write=True), expire_on_commit=False) as session:
        owner = session.exec(select(User).where(User.username == username)).one()
        made = [
            take
            for prompt in prompts
            for take in _generation(session, server, owner, prompt, n_takes=n_takes)
        ]
        session.commit()
    engine.dispose()
    return [take.id for take in made]


def _generation(session: Session, server: Server, owner: User, prompt: str, *, n_takes: int) -> list[Take]:
    generation = Generation(
        owner_id=owner.id, prompt=prompt, model_id="mod_gone", model_name="Bells", duration_s=0.6, seed=0,
        n_takes=n_takes, n_done=n_takes, guidance=3.0, temperature=1.0, status=GenerationStatus.SUCCEEDED,
    )  # fmt: skip
    session.add(generation)
    session.flush()
    tallies.count_generation(session, generation)
    folder = server.data_path / "generations" / generation.id
    folder.mkdir(parents=True)
    takes = []
    for position in range(n_takes):
        take = Take(
            generation_id=generation.id, owner_id=owner.id, model_id="mod_gone", position=position,
            seed=position, duration_s=0.6, sample_rate=RATE, size_bytes=19_244,
        )  # fmt: skip
        soundfile.write(folder / f"{take.id}.wav", tone(330 * (position + 1)), RATE, subtype="PCM_16")
        session.add(take)
        tallies.count_take(session, generation)
        takes.append(take)
    return takes
