"""Who may do what: the one place that is asked by pages, REST, files, events and the command line.

| what | one's own | shared for use | shared to look at | somebody else's |
|---|---|---|---|---|
| see, hear, download | viewer | viewer | viewer | |
| try: have a model answer | viewer | viewer | | |
| rate and compare takes | rater | rater | | |
| train with it | trainer | trainer | | |
| hold: whatever nobody else reaches | viewer | | | |
| make, change, share, delete | trainer | | | |
| administer | admin | | | |

A role is the least that does it, and a higher one may as well; an empty cell is refused whatever the role.
What nobody shares isn't there for others, admins too: those see who has how much, never what.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import ColumnElement, and_, or_, text
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import Role, Sharing
from qlora_studio.core.errors import Forbidden, NotFound
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job, User

Thing = TypeVar("Thing", Dataset, BaseAudioModel, Job, Adapter)
RANK = {Role.VIEWER: 0, Role.RATER: 1, Role.TRAINER: 2, Role.ADMIN: 3}


class Action(StrEnum):
    SEE = "see"
    TRY = "try"
    RATE = "rate"
    TRAIN = "train"
    HOLD = "hold"
    CHANGE = "change"
    ADMINISTER = "administer"


class Standing(StrEnum):
    """What a person is to a thing."""

    OWNER = "owner"
    MAY_USE = "may_use"
    MAY_LOOK = "may_look"
    STRANGER = "stranger"


class Shelf(StrEnum):
    """Which things a list shows: a person's own, what others share, or both."""

    MINE = "mine"
    SHARED = "shared"
    ALL = "all"


_ANYBODY_NEAR = (Standing.OWNER, Standing.MAY_USE, Standing.MAY_LOOK)
_USERS = (Standing.OWNER, Standing.MAY_USE)
RULES: dict[Action, tuple[Role, tuple[Standing, ...]]] = {
    Action.SEE: (Role.VIEWER, _ANYBODY_NEAR),
    Action.TRY: (Role.VIEWER, _USERS),
    Action.RATE: (Role.RATER, _USERS),
    Action.TRAIN: (Role.TRAINER, _USERS),
    Action.HOLD: (Role.VIEWER, (Standing.OWNER,)),
    Action.CHANGE: (Role.TRAINER, (Standing.OWNER,)),
    Action.ADMINISTER: (Role.ADMIN, (Standing.OWNER,)),
}
_ROLE_TOO_LOW = {
    "adapter": "Your role can look at adapters but not change them.",
    "clip": "Your role can listen, but not change clips.",
    "credential": "Your role can look, but not add credentials. Ask an admin for the trainer role.",
    "dataset": "Your role can look, but not change datasets. Ask an admin for the trainer role.",
    "dictation": "Your role can listen, but not have clips written down.",
    "generation": "Your role can listen and rate, but not generate.",
    "job": "Your role can look at jobs but not change them.",
    "listening test": "Your role can take listening tests, but not make them.",
    "model": "Your role can look at models but not change them.",
}
_OTHER_ROLE_TOO_LOW = {
    Action.RATE: "Your role can listen, but not rate or compare.",
    Action.ADMINISTER: "Only an admin can do this.",
}
_KINDS: dict[type, str] = {Dataset: "dataset", BaseAudioModel: "model", Job: "job", Adapter: "adapter"}


def standing(actor: User, owner_id: str, sharing: Sharing) -> Standing:
    """What `actor` is to a thing of `owner_id`."""
    if owner_id == actor.id:
        return Standing.OWNER
    return {Sharing.USE: Standing.MAY_USE, Sharing.READ: Standing.MAY_LOOK}.get(sharing, Standing.STRANGER)


def may(actor: User, action: Action, stands: Standing = Standing.OWNER) -> bool:
    """Whether `actor` may do this to something they stand so to; without that: to their own."""
    least, those = RULES[action]
    return RANK[actor.role] >= RANK[least] and stands in those


def require_role(actor: User, action: Action = Action.CHANGE, *, of: str = "", message: str = "") -> None:
    """Refuse those whose role is too low for an action, whatever it is done to.

    Args:
        of: the kind of thing, for the sentence; `message` is said in its place.

    Raises:
        Forbidden: the role is too low.
    """
    if may(actor, action):
        return
    known = _OTHER_ROLE_TOO_LOW.get(action) or _ROLE_TOO_LOW.get(of)
    needed = RULES[action][0].value
    raise Forbidden(message or known or f"This needs the role {needed}. Ask an admin.")


def find(session: Session, table: type[Thing], thing_id: str, *, actor: User, action: Action) -> Thing | None:
    """Return a thing that `actor` may see, once they may do this to it; None if it isn't there for them.

    Raises:
        Forbidden: they see it, and may not do this.
    """
    thing = session.get(table, thing_id)
    if thing is None:
        return None
    stands = standing(actor, thing.owner_id, thing.sharing)
    if stands is Standing.STRANGER:
        return None
    kind = _KINDS[table]
    if stands not in RULES[action][1]:
        owner = name_of(session, thing.owner_id)
        does = "use" if stands is Standing.MAY_USE else "look at"
        what = "change it" if action in (Action.HOLD, Action.CHANGE) else "use it"
        asked = "" if what == "change it" else f" Ask {owner} to share it for use."
        raise Forbidden(f"This {kind} is shared by {owner}: you may {does} it, but not {what}.{asked}")
    require_role(actor, action, of=kind)
    return thing


def get(session: Session, table: type[Thing], thing_id: str, *, actor: User, action: Action) -> Thing:
    """Return a thing that `actor` may do this to.

    Raises:
        NotFound: it isn't there, or is private to somebody else.
        Forbidden: they see it, and may not do this.
    """
    thing = find(session, table, thing_id, actor=actor, action=action)
    if thing is None:
        raise NotFound(f"There is no such {_KINDS[table]}.")
    return thing


def within(
    table: type[Thing], *, actor: User, shelf: Shelf = Shelf.MINE, action: Action = Action.SEE
) -> ColumnElement[bool]:
    """Return what SQL selects those rows by that are on a shelf, and that `actor` may do this to."""
    mine = col(table.owner_id) == actor.id
    if shelf is Shelf.MINE:
        return mine
    # in words, as its index has it: a parameter would not match
    is_shared = text(f"{table.__table__.name}.sharing != 'private'")  # type: ignore[attr-defined]
    shared = and_(is_shared, col(table.owner_id) != actor.id)
    if Standing.MAY_LOOK not in RULES[action][1]:
        shared = and_(shared, col(table.sharing) == Sharing.USE)
    return shared if shelf is Shelf.SHARED else or_(mine, shared)


def name_of(session: Session, user_id: str) -> str:
    """How others call a person."""
    return names_of(session, {user_id}).get(user_id, "somebody")


def names_of(session: Session, user_ids: set[str]) -> dict[str, str]:
    """How others call each of these people."""
    found = session.exec(select(User.id, User.name, User.username).where(col(User.id).in_(user_ids)))
    return {user_id: name or username for user_id, name, username in found}


def whose(session: Session, owner_id: str, things: Sequence[Job | Adapter]) -> dict[str, str]:
    """For each thing, ` of …` with its owner's name where that is somebody else than `owner_id`."""
    others = {thing.owner_id for thing in things} - {owner_id}
    names = names_of(session, others) if others else {}
    return {t.id: f" of {names.get(t.owner_id, 'somebody')}" if t.owner_id in others else "" for t in things}
