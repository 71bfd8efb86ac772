"""Takes and what is being made, as the page *Studio* shows them."""

import base64
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from qlora_studio.contracts.enums import GenerationStatus, Role, Sharing
from qlora_studio.db.models import Generation, Rating, Take, User
from qlora_studio.state import formats


@dataclass(frozen=True)
class TakeRow:
    """One take. `stars`, `tags` and `note` are one's own, by the criterion that is chosen.

    Takes of one text and seed have the same `twin`, by which they are compared.
    """

    id: str
    name: str
    url: str
    seconds: str
    peaks: str
    seed: str
    twin: str
    stars: int = 0
    tags: str = ""
    note: str = ""
    mean: str = ""
    is_liked: bool = False


@dataclass(frozen=True)
class GenerationRow:
    """A text, how it was made, and its takes. `sharing` is what others may do with them.

    `side` is A or B where it is one of two that are being compared.
    """

    id: str
    name: str
    made_by: str
    detail: str
    status: str
    error: str
    is_under_way: bool
    progress: str
    percent: int
    created: str
    created_exact: str
    has_adapter: bool
    is_own: bool
    may_rate: bool
    sharing: str
    side: str = ""
    takes: list[TakeRow] = field(default_factory=list)


def twin_of(generation: Generation, take: Take, sides: Mapping[str, str]) -> str:
    """Return what takes of one text and seed share; two that are being compared share it with no third."""
    compared = "-ab" if generation.id in sides else ""
    return f"{(generation.prompt_key or '')[:16]}-{take.seed}{compared}"


def take_row(take: Take, twin: str, peaks: bytes, rating: Rating | None, *, is_liked: bool) -> TakeRow:
    """Return a take with one's own rating of it; `twin` is empty where there is no other one to hear."""
    return TakeRow(
        id=take.id,
        name=f"Take {take.position + 1}",
        url=f"/api/v1/takes/{take.id}/audio",
        seconds=f"{take.duration_s:.2f}",
        peaks=base64.b64encode(peaks).decode(),
        seed=str(take.seed),
        twin=twin,
        stars=rating.stars if rating else 0,
        tags=", ".join(rating.tags) if rating else "",
        note=rating.note if rating else "",
        mean=f"{take.mean_stars:.1f}" if take.n_ratings > 1 and take.mean_stars else "",
        is_liked=is_liked,
    )


def generation_row(
    generation: Generation,
    takes: list[Take],
    *,
    actor: User,
    twins: Container[str],
    sides: Mapping[str, str],
    peaks: Mapping[str, bytes],
    rated: Mapping[str, Rating],
    liked: Container[str],
) -> GenerationRow:
    """Return a generation with its takes.

    Args:
        actor: who looks at it.
        twins: of the takes that are not alone with their text and seed.
        sides: A and B of the two that are being compared, by generation.
        rated: one's own ratings by the chosen criterion, by take.
        liked: the takes that are one's favourites.
    """
    created = formats.when(generation.created_at)
    adapter = generation.adapter_name or generation.adapter_id
    strength = f" × {generation.strength:g}" if adapter and generation.strength != 1 else ""
    is_own = generation.owner_id == actor.id
    named = [(take, twin_of(generation, take, sides)) for take in takes]
    is_under_way = generation.status in (GenerationStatus.QUEUED, GenerationStatus.RUNNING)
    return GenerationRow(
        id=generation.id,
        name=generation.prompt,
        made_by=f"{generation.model_name} + {adapter}{strength}" if adapter else generation.model_name,
        detail=f"{generation.duration_s:g} s, seed {generation.seed}",
        status=generation.status.value,
        error=generation.error,
        is_under_way=is_under_way,
        progress=_progress(generation) if is_under_way else "",
        percent=_percent(generation),
        created=created.relative,
        created_exact=created.exact,
        has_adapter=bool(generation.adapter_id),
        is_own=is_own,
        may_rate=actor.role is not Role.VIEWER and (is_own or generation.sharing is Sharing.USE),
        sharing=generation.sharing.value,
        side=sides.get(generation.id, ""),
        takes=[
            take_row(
                take,
                twin if twin in twins else "",
                peaks.get(take.id, b""),
                rated.get(take.id),
                is_liked=take.id in liked,
            )
            for take, twin in named
        ],
    )


def _progress(generation: Generation) -> str:
    if generation.status is GenerationStatus.QUEUED and not generation.label:
        return "Waiting for its turn"
    at = min(generation.n_done + 1, generation.n_takes)
    return f"Take {at} of {generation.n_takes}: {generation.label or 'starting'}"


def _percent(generation: Generation) -> int:
    """How much of all takes is there, the one that is being made included."""
    return min(100, round((100 * generation.n_done + generation.percent) / generation.n_takes))
