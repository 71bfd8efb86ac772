"""Votes of blind pairs: which of two takes of one text somebody prefers."""

from collections.abc import Collection

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import Preference
from qlora_studio.core.clock import utc_now
from qlora_studio.core.errors import InvalidInput, NotFound
from qlora_studio.db.models import Generation, PreferenceVote, Take, User
from qlora_studio.services import access, audit, blind_pairs, generations, tallies
from qlora_studio.services.access import Action
from qlora_studio.services.vote_schemas import BlindPair, NextPair, TakenBack, VotePut

_OUTSIDE_TESTS = blind_pairs.OUTSIDE_TESTS


def get_next(session: Session, *, actor: User, leaving_out: Collection[str] = ()) -> NextPair:
    """Return the pair that the actor hears next.

    Args:
        leaving_out: ids of pairs that the actor is answering just now.

    Raises:
        Forbidden: the actor's role may only listen.
    """
    _require_rater(actor)
    found = blind_pairs.find_next(session, actor=actor, leaving_out=leaving_out)
    pair = BlindPair.of(found.key, found.prompt, found.first, found.second) if found else None
    return NextPair(pair=pair, n_answered=count(session, actor=actor))


def put(session: Session, *, actor: User, form: VotePut) -> PreferenceVote:
    """Take in what the actor says of a pair; the actor's own vote about it is replaced.

    Raises:
        Forbidden: the actor's role, or whoever shares a take, allows listening only.
        NotFound: a take isn't there, or isn't for the actor.
        InvalidInput: the takes are of different texts or models.
    """
    _require_rater(actor)
    key = blind_pairs.key_of(*form.take_ids)
    takes = {take_id: _take_to_compare(session, actor, take_id) for take_id in sorted(form.take_ids)}
    one, other = (session.get_one(Generation, take.generation_id) for take in takes.values())
    if (one.owner_id, one.model_id, one.prompt) != (other.owner_id, other.model_id, other.prompt):
        sentence = "Compare two takes of the same text, made with the same base model."
        raise InvalidInput(sentence, fields={"second_take_id": sentence})
    first, second, verdict = _as_heard(actor, form)
    mine = select(PreferenceVote).where(PreferenceVote.rater_id == actor.id, PreferenceVote.pair_key == key)
    vote = session.exec(mine.where(_OUTSIDE_TESTS)).first()
    if vote is None:
        vote = PreferenceVote(
            rater_id=actor.id, first_take_id=first, second_take_id=second, pair_key=key, verdict=verdict,
            owner_id=one.owner_id, model_id=one.model_id, prompt_key=tallies.prompt_key(one.prompt),
        )  # fmt: skip
        tallies.count_vote(session, vote, 1)
    vote.first_take_id, vote.second_take_id, vote.verdict = first, second, verdict
    vote.updated_at = utc_now()
    session.add(vote)
    audit.count(session, actor=actor, action="pair.vote", object_type="preference_vote", object_id=vote.id)
    return vote


def take_back_last(session: Session, *, actor: User) -> TakenBack:
    """Forget the actor's latest vote, so that its pair can be answered again.

    Raises:
        NotFound: there is none.
    """
    latest = select(PreferenceVote).where(PreferenceVote.rater_id == actor.id, _OUTSIDE_TESTS)
    latest = latest.order_by(col(PreferenceVote.updated_at).desc(), col(PreferenceVote.id).desc())
    vote = session.exec(latest.with_for_update()).first()
    if vote is None:
        raise NotFound("There is no vote to take back.")
    first, second = (session.get_one(Take, id_) for id_ in (vote.first_take_id, vote.second_take_id))
    prompt = session.get_one(Generation, first.generation_id).prompt
    session.delete(vote)
    tallies.count_vote(session, vote, -1)
    _audit(session, actor, "pair.unvote", vote)
    session.flush()
    return TakenBack(
        pair=BlindPair.of(vote.pair_key, prompt, first, second),
        verdict=vote.verdict,
        n_answered=count(session, actor=actor),
    )


def list_own(
    session: Session, *, actor: User, page: int = 1, page_size: int = 25
) -> tuple[list[PreferenceVote], int]:
    """Return one page of the actor's votes, the latest first, and how many there are."""
    mine = select(PreferenceVote).where(PreferenceVote.rater_id == actor.id, _OUTSIDE_TESTS)
    mine = mine.order_by(col(PreferenceVote.updated_at).desc(), col(PreferenceVote.id).desc())
    rows = session.exec(mine.offset((page - 1) * page_size).limit(page_size))
    return list(rows), count(session, actor=actor)


def count(session: Session, *, actor: User) -> int:
    """How many pairs the actor has answered, skipped ones too."""
    counted = select(func.count()).select_from(PreferenceVote)
    return session.exec(counted.where(PreferenceVote.rater_id == actor.id, _OUTSIDE_TESTS)).one()


def _require_rater(actor: User) -> None:
    access.require_role(actor, Action.RATE, message="Your role can listen, but not compare.")


def _take_to_compare(session: Session, actor: User, take_id: str) -> Take:
    generations.get_take_to_rate(session, actor=actor, take_id=take_id)
    # two votes about one pair at once are taken in one after the other
    return session.get_one(Take, take_id, with_for_update=True, populate_existing=True)


def _as_heard(actor: User, form: VotePut) -> tuple[str, str, Preference]:
    """The left take, the right one and the verdict; who names the better one is asked in a fixed order."""
    if form.verdict is not None:
        return *form.take_ids, form.verdict
    first, second = blind_pairs.in_order(actor.id, *form.take_ids)
    if form.tie:
        return first, second, Preference.TIE
    return first, second, Preference.LEFT if first == form.chosen_id else Preference.RIGHT


def _audit(session: Session, actor: User, action: str, vote: PreferenceVote) -> None:
    takes = f"{vote.first_take_id}, {vote.second_take_id}"
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="preference_vote",
        object_id=vote.id,
        details={"takes": takes, "verdict": vote.verdict},
    )
