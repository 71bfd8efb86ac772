"""Takes as they are once made, without their files."""

from sqlmodel import Session

from qlora_studio.contracts.enums import GenerationStatus, Sharing
from qlora_studio.db.models import Generation, Take, User
from qlora_studio.services import tallies


def make_takes(
    session: Session,
    owner: User,
    n_takes: int,
    *,
    prompt: str = "rain",
    model_id: str = "mod_a",
    sharing: Sharing = Sharing.PRIVATE,
) -> list[Take]:
    """Store a generation of so many takes, counted as those of the engine are."""
    generation = Generation(
        owner_id=owner.id, prompt=prompt, model_id=model_id, model_name="Rain", duration_s=1.0, seed=0,
        n_takes=n_takes, n_done=n_takes, guidance=3.0, temperature=1.0, status=GenerationStatus.SUCCEEDED,
        sharing=sharing,
    )  # fmt: skip
    session.add(generation)
    session.flush()
    tallies.count_generation(session, generation)
    made = [
        Take(
            generation_id=generation.id, owner_id=owner.id, model_id=model_id, position=i, seed=i,
            duration_s=1.0, sample_rate=16_000, size_bytes=1,
        )
        for i in range(n_takes)
    ]  # fmt: skip
    session.add_all(made)
    for _ in made:
        tallies.count_take(session, generation)
    return made
