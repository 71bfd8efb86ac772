"""What the page *Studio* works with: models that make sound, texts used lately, own ratings."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import Task
from qlora_studio.db.models import Generation, Rating, RatingTally, Take, User
from qlora_studio.examples import catalog
from qlora_studio.services import making, offers, trial_clips
from qlora_studio.services.generation_lists import OF_NO_TEST
from qlora_studio.services.rating_schemas import OVERALL
from qlora_studio.storage import layout

_LOOKED_BACK = 200  # generations, in which texts used lately are looked for


@dataclass(frozen=True)
class SoundModel:
    """A model that is ready to make sound.

    `is_steered` says whether it has a use for guidance and temperature; one that speaks has not.
    `active_id` is its default adapter, or empty. `prompts` are texts that it knows what to do with, and
    `usual_seconds` how long its sounds are, where that is known.
    """

    id: str
    name: str
    is_steered: bool
    max_seconds: float
    adapters: list[tuple[str, str]]
    active_id: str
    active_strength: float
    prompts: tuple[tuple[str, str], ...] = ()
    usual_seconds: float | None = None


def list_sound_models(session: Session, *, actor: User) -> list[SoundModel]:
    """Return the models that the actor can make sound with now; see `offers.list_offers`."""
    found = []
    for offer in offers.list_offers(session, actor=actor, task=Task.TEXT_TO_AUDIO):
        model = offer.model
        is_starter = model.source.get("kind") == "starter"
        found.append(
            SoundModel(
                id=model.id,
                name=offer.name,
                is_steered=not model.architecture.startswith("SpeechT5"),
                max_seconds=model.max_duration_s or 30.0,
                adapters=offer.adapters,
                active_id=offer.active_id,
                active_strength=offer.active_strength,
                prompts=catalog.SOUND_PROMPTS if is_starter else (),
                usual_seconds=catalog.SOUND_SECONDS if is_starter else None,
            )
        )
    return found


def list_recent_prompts(session: Session, *, actor: User, limit: int = 12) -> list[str]:
    """Return the texts that the actor used last, each once, the latest first."""
    rows = select(Generation.prompt).where(Generation.owner_id == actor.id, OF_NO_TEST)
    rows = rows.order_by(col(Generation.created_at).desc(), col(Generation.id).desc()).limit(_LOOKED_BACK)
    return list(dict.fromkeys(session.exec(rows)))[:limit]


def list_under_way(session: Session, *, actor: User) -> list[Generation]:
    """Return the actor's generations that are not made yet, the first asked for first."""
    rows = select(Generation).where(
        Generation.owner_id == actor.id, col(Generation.status).in_(making.ACTIVE)
    )
    return list(session.exec(rows.order_by(col(Generation.created_at), col(Generation.id))))


def list_criteria(session: Session, *, actor: User, takes: Sequence[Take] = ()) -> list[str]:
    """Return by what the actor's takes are rated, and those of others among `takes`; `overall` first."""
    used = select(RatingTally.criterion).where(RatingTally.owner_id == actor.id).distinct()
    words = set(session.exec(used))
    if theirs := [take.id for take in takes if take.owner_id != actor.id]:
        words |= set(session.exec(select(Rating.criterion).where(col(Rating.take_id).in_(theirs)).distinct()))
    return [OVERALL, *sorted(words - {OVERALL})]


def own_ratings(session: Session, *, actor: User, take_ids: Iterable[str]) -> dict[str, dict[str, Rating]]:
    """Return the actor's own ratings of takes, by take and criterion."""
    rows = select(Rating).where(Rating.rater_id == actor.id, col(Rating.take_id).in_(list(take_ids)))
    found: dict[str, dict[str, Rating]] = defaultdict(dict)
    for rating in session.exec(rows):
        found[rating.take_id][rating.criterion] = rating
    return found


def read_peaks(takes: Sequence[Take]) -> dict[str, bytes]:
    """Return the waveforms of takes that the caller may see; an empty one where the file is gone."""
    return {take.id: _peaks(take.generation_id, take.id) for take in takes}


@lru_cache(maxsize=4096)
def _peaks_of_file(path: str) -> bytes:
    return trial_clips.measure_sound(Path(path))[1]


def _peaks(generation_id: str, take_id: str) -> bytes:
    path = layout.take_path(generation_id, take_id)
    try:
        return _peaks_of_file(str(path))  # a take never changes
    except (OSError, RuntimeError):
        return b""
