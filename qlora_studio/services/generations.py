"""Generations: takes asked for, heard and removed. `making` makes them, `generation_lists` finds them."""

import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sqlalchemy import func
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import Sharing
from qlora_studio.contracts.inference import MAX_SEED
from qlora_studio.core.errors import Forbidden, NotFound, TooLarge, TooManyTries
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db.commits import after_commit
from qlora_studio.db.engine import DatabaseBusy
from qlora_studio.db.models import Generation, Take, TakeTally, User
from qlora_studio.services import access, adapters, audit, making, models, tallies
from qlora_studio.services.access import Action
from qlora_studio.services.generation_lists import OF_NO_TEST
from qlora_studio.services.generation_schemas import GenerationCreate, GenerationUpdate
from qlora_studio.storage import layout

MAX_ACTIVE = 10  # of one account
_AT_ONCE = 50


def start(
    session: Session,
    *,
    actor: User,
    form: GenerationCreate,
    in_background: bool = True,
    listening_test_id: str | None = None,
) -> Generation:
    """Ask for takes; they are made one by one.

    Args:
        in_background: begin in a thread of this process as soon as the row is on disk.
        listening_test_id: the test that the takes are for; then no other list shows them.

    Raises:
        Forbidden: the actor's role may only listen.
        NotFound: the model or the adapter isn't there, or isn't the actor's.
        InvalidInput: they don't go together, or make no sound.
        Conflict: the model isn't ready, or files have changed or gone.
        TooManyTries: too many of the actor's are under way.
        TooLarge: the account keeps as many takes as it may.
    """
    access.require_role(actor, of="generation")
    _check_room(session, actor, form.n_takes)
    model = models.get_model(session, actor=actor, model_id=form.model_id, action=Action.TRY)
    named = form.model_dump(include={"model_id", "adapter_id", "strength"})
    chosen = adapters.choose(session, actor=actor, **named)
    generation = Generation(
        owner_id=actor.id,
        model_name=model.name,
        **form.model_dump(exclude={"prompt", "seed", "adapter_id", "strength"}),
        prompt=" ".join(form.prompt.split()),
        seed=secrets.randbelow(MAX_SEED + 1) if form.seed is None else form.seed,
        adapter_id=chosen.adapter_id,
        strength=chosen.strength,
        listening_test_id=listening_test_id,
    )
    if generation.adapter_id:
        view = adapters.get_view(session, actor=actor, adapter_id=generation.adapter_id, action=Action.TRY)
        generation.adapter_name = view.adapter.name
    path = layout.generation_path(generation.id) / "take.wav"
    making.prepare_take(session, actor=actor, generation=generation, position=0, path=path)
    session.add(generation)
    session.flush()
    tallies.count_generation(session, generation)
    _audit(session, actor, "generation.start", generation)
    if in_background:
        waiting = (generation.id, generation.owner_id)
        after_commit(session, lambda: making.launch(*waiting))
    return generation


def get_generation(session: Session, *, actor: User, generation_id: str) -> Generation:
    """Return a generation that the actor may see.

    Raises:
        NotFound: it isn't there, or is somebody else's who doesn't share it.
    """
    generation = session.get(Generation, generation_id)
    if generation is None or not access.may(
        actor, Action.SEE, access.standing(actor, generation.owner_id, generation.sharing)
    ):
        raise NotFound("There is no such generation.")
    return generation


def get_own(session: Session, *, actor: User, generation_id: str) -> Generation:
    """Return one of the actor's generations.

    Raises:
        NotFound: it isn't there, or isn't the actor's.
    """
    generation = session.get(Generation, generation_id)
    if generation is None or generation.owner_id != actor.id:
        raise NotFound("There is no such generation.")
    return generation


def update(session: Session, *, actor: User, generation_id: str, form: GenerationUpdate) -> Generation:
    """Share a generation, or no longer.

    Raises:
        Forbidden: the actor's role may only listen.
        NotFound: it isn't the actor's.
    """
    access.require_role(actor, of="generation")
    generation = get_own(session, actor=actor, generation_id=generation_id)
    generation.sharing = form.sharing
    session.add(generation)
    _audit(session, actor, "generation.share", generation)
    return generation


def takes_of(session: Session, generations: Sequence[Generation]) -> dict[str, list[Take]]:
    """Return the takes of generations that the caller may see, by generation, in order."""
    found: dict[str, list[Take]] = {generation.id: [] for generation in generations}
    takes = select(Take).where(col(Take.generation_id).in_(list(found))).order_by(col(Take.position))
    for take in session.exec(takes):
        found[take.generation_id].append(take)
    return found


def get_take(session: Session, *, actor: User, take_id: str) -> Take:
    """Return a take that the actor may hear: an own one, or of a generation that is shared.

    Raises:
        NotFound: it isn't there, or is somebody else's who doesn't share it.
    """
    take = session.get(Take, take_id)
    if take is None or not access.may(actor, Action.SEE, _standing(session, actor, take)):
        raise NotFound("There is no such take.")
    return take


def get_take_to_rate(session: Session, *, actor: User, take_id: str) -> Take:
    """Return a take that the actor may rate and compare: an own one, or one that is shared for use.

    Raises:
        Forbidden: the actor's role, or whoever shares the take, allows listening only.
        NotFound: it isn't there, or is somebody else's who doesn't share it.
    """
    access.require_role(actor, Action.RATE)
    take = get_take(session, actor=actor, take_id=take_id)
    if not access.may(actor, Action.RATE, _standing(session, actor, take)):
        raise Forbidden("You may listen to this take, but not rate it.")
    return take


def _standing(session: Session, actor: User, take: Take) -> access.Standing:
    if take.owner_id == actor.id:
        return access.Standing.OWNER
    return access.standing(actor, take.owner_id, session.get_one(Generation, take.generation_id).sharing)


def get_audio(session: Session, *, actor: User, take_id: str) -> Path:
    """Return the WAV file of a take that the actor may hear.

    Raises:
        NotFound: it isn't there, isn't for the actor, or its file is gone.
    """
    take = get_take(session, actor=actor, take_id=take_id)
    path = layout.take_path(take.generation_id, take.id)
    if not path.is_file():
        raise NotFound("The sound is no longer on the disk.")
    return path


def remove(session: Session, *, actor: User, generation_id: str) -> None:
    """Call a generation off, or delete one that has ended: takes, ratings and files go with it.

    Raises:
        NotFound: it isn't the actor's.
    """
    access.require_role(actor, of="generation")
    generation = get_own(session, actor=actor, generation_id=generation_id)
    _audit(session, actor, "generation.delete", generation)
    _delete(session, generation)


def remove_of_deleted(owner_id: str) -> None:
    """Delete what only a deleted account could hear, some at a time, so that nobody else has to wait for it.

    What it shared stays where others hear it, and what is in listening tests belongs to those. Where the
    database is busy all this time, the next start goes on.
    """
    of_nobody = (Generation.owner_id == owner_id, Generation.sharing == Sharing.PRIVATE, OF_NO_TEST)
    with suppress(DatabaseBusy):
        while True:
            with db.write() as session:
                some = session.exec(select(Generation).where(*of_nobody).limit(_AT_ONCE)).all()
                for generation in some:
                    _delete(session, generation)
            if not some:
                return


def recover() -> None:
    """Go on with what `remove_of_deleted` has left."""
    with db.read() as session:
        deleted = session.exec(select(User.id).where(col(User.deleted_at).is_not(None))).all()
    for user_id in deleted:
        remove_of_deleted(user_id)


def _delete(session: Session, generation: Generation) -> None:
    tallies.forget_generation(session, generation)
    session.delete(generation)
    folder = layout.generation_path(generation.id)
    after_commit(session, lambda: shutil.rmtree(folder, ignore_errors=True))


def _check_room(session: Session, actor: User, n_takes: int) -> None:
    active = select(Generation).where(
        col(Generation.owner_id) == actor.id, col(Generation.status).in_(making.ACTIVE)
    )
    under_way = session.exec(active).all()
    if len(under_way) >= MAX_ACTIVE:
        sentence = f"{MAX_ACTIVE} of your generations are under way, the most at once. Wait for one."
        raise TooManyTries(sentence, retry_after_s=10)
    there = session.exec(select(func.sum(TakeTally.n)).where(TakeTally.owner_id == actor.id)).one() or 0
    of_tests = select(func.sum(Generation.n_done)).where(
        Generation.owner_id == actor.id, col(Generation.listening_test_id).is_not(None)
    )
    there += session.exec(of_tests).one() or 0
    asked = sum(generation.n_takes - generation.n_done for generation in under_way)
    most = get_settings().max_takes_per_user
    if there + asked + n_takes > most:
        raise TooLarge(f"You can keep {most:,} takes. Delete generations that you don't need any more.")


def _audit(session: Session, actor: User, action: str, generation: Generation) -> None:
    audit.record(
        session,
        actor=actor,
        action=action,
        object_type="generation",
        object_id=generation.id,
        object_name=generation.prompt[:120],
        details={"model": generation.model_name, "adapter": generation.adapter_name},
    )
