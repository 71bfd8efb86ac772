"""A blind pair as its page shows it."""

from dataclasses import dataclass

from qlora_studio.services.vote_schemas import BlindPair


@dataclass(frozen=True)
class PairView:
    """Two sounds of one text: their addresses, and a name for the pair. Without an id there is none."""

    id: str = ""
    prompt: str = ""
    left: str = ""
    right: str = ""


NO_PAIR = PairView()


def pair_view(pair: BlindPair | None) -> PairView:
    """Return a pair of takes with the addresses of their sounds."""
    if pair is None:
        return NO_PAIR
    left, right = (f"/api/v1/takes/{take.id}/audio" for take in (pair.first, pair.second))
    return PairView(pair.id, pair.prompt, left, right)
