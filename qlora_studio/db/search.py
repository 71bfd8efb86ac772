"""Find text in long lists, and count them, without looking at every row.

SQLite keeps the trigrams of names, texts, labels and speakers in three FTS5 tables, and how many datasets
each person has, by triggers (migrations 0003 and 0008). Other databases, and texts of one or two letters, are
searched with ILIKE; counts are counted then.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, column, func, null, text
from sqlmodel import Session, col, or_, select

from qlora_studio.contracts.enums import DatasetStatus, Task
from qlora_studio.db.models import Clip, Dataset, Generation, GenerationTally

MIN_CHARACTERS = 3
FEW = 1_000  # so many hits are looked up one by one; with more, a page is soon full in whatever order
_PLACES = 1 << 24  # for the clips of a dataset, in the index
_ROWS_OF_ONE = 1 << 32  # for what one person has, in the index

_CLIPS = "clip_search MATCH :words AND rowid BETWEEN :first AND :last"


@dataclass(frozen=True)
class Hits:
    """Rows that hold a text.

    `condition` is the quick way to a page of them, `exact` the quick way to their number. `n` is that number
    when they are few; then it is better to sort them than to follow the order of an index.
    """

    condition: ColumnElement[bool]
    exact: ColumnElement[bool]
    n: int | None = None

    @property
    def are_few(self) -> bool:
        return self.n is not None


def find_clips(session: Session, *, dataset_id: str, words: str) -> Hits:
    """Return which clips of a dataset hold `words` in their name, text, label or speaker."""
    words = _whole(words)
    columns = (Clip.filename, Clip.text, Clip.label, Clip.speaker)
    plain = or_(*(col(c).icontains(words, autoescape=True) for c in columns))
    place = _place(session, dataset_id) if _is_indexed(session, words) else None
    if place is None:
        return Hits(plain, plain)
    first = place * _PLACES
    values = {"words": _phrase(words), "first": first, "last": first + _PLACES - 1}
    rows = text(f"SELECT rowid - :first AS place FROM clip_search WHERE {_CLIPS}").bindparams(**values)
    exact = col(Clip.position).in_(rows.columns(column("place", BigInteger)))
    return _hits(session, plain, exact, f"SELECT 1 FROM clip_search WHERE {_CLIPS}", values)


def find_datasets(session: Session, *, owner_id: str, words: str) -> Hits:
    """Return which of a person's datasets hold `words` in their name or description."""
    columns = (Dataset.name, Dataset.description)
    return _find_owned(session, "dataset", Dataset.id, columns, owner_id=owner_id, words=words)


def find_generations(session: Session, *, owner_id: str, words: str) -> Hits:
    """Return which of a person's generations hold `words` in their text."""
    columns = (Generation.prompt,)
    return _find_owned(session, "generation", Generation.id, columns, owner_id=owner_id, words=words)


def _find_owned(
    session: Session, name: str, key: Any, columns: tuple[Any, ...], *, owner_id: str, words: str
) -> Hits:
    """Find rows of one person in the table `name`, which has an index `…_search` and numbers in `…_place`."""
    words = _whole(words)
    plain = or_(*(col(c).icontains(words, autoescape=True) for c in columns))
    place = _owner_place(session, owner_id) if _is_indexed(session, words) else None
    if place is None:
        return Hits(plain, plain)
    first = place[0] * _ROWS_OF_ONE
    values = {"words": _phrase(words), "first": first, "last": first + _ROWS_OF_ONE - 1}
    found = f"{name}_search WHERE {name}_search MATCH :words AND rowid BETWEEN :first AND :last"
    rows = text(
        f"SELECT {name}_id AS place FROM {name}_place WHERE number IN (SELECT rowid - :first FROM {found})"
    ).bindparams(**values)
    exact = col(key).in_(rows.columns(column("place")))
    return _hits(session, plain, exact, f"SELECT 1 FROM {found}", values)


def state_of_generations(session: Session, *, owner_id: str) -> tuple[int, int] | None:
    """Other whenever a person's generations are others; None where nobody keeps count.

    With the same number of them, and the same newest number of all, none has come or gone: numbers never
    come again. Only for reading sessions.
    """
    if not _is_sqlite(session):
        return None
    n = select(func.coalesce(func.sum(GenerationTally.n), 0)).where(GenerationTally.owner_id == owner_id)
    newest = text("SELECT coalesce(max(number), 0) FROM generation_place")
    return session.exec(n).one(), session.connection().execute(newest).scalar_one()


def _whole(words: str) -> str:
    """The words with no NUL in them, at which SQLite would end the pattern and find everything."""
    return words.replace("\0", "\ufffd")


def state_of_datasets(session: Session, *, owner_id: str) -> tuple[int, int] | None:
    """Changes whenever a person's datasets do, in name, kind or number; None where nobody keeps count.

    Only for reading sessions: what is rolled back is counted back.
    """
    return _owner_place(session, owner_id) if _is_sqlite(session) else None


def count_datasets(
    session: Session, *, owner_id: str, status: DatasetStatus | None = None, task: Task | None = None
) -> int:
    """How many datasets a person has."""
    filters = {"owner_id": owner_id, "status": status, "task": task}
    given = {name: value for name, value in filters.items() if value is not None}
    if not _is_sqlite(session):
        where = [getattr(Dataset, name) == value for name, value in given.items()]
        return session.exec(select(func.count()).select_from(Dataset).where(*where)).one()
    where = " AND ".join(f"{name} = :{name}" for name in given)
    query = text(f"SELECT coalesce(sum(n), 0) FROM dataset_count WHERE {where}")
    return session.connection().execute(query, {k: str(v) for k, v in given.items()}).scalar_one()


def unindexed(value: Any) -> ColumnElement[Any]:
    """The same value as an expression: few hits are then looked up and sorted, no index is followed."""
    return func.coalesce(value, null())


def _hits(
    session: Session,
    plain: ColumnElement[bool],
    exact: ColumnElement[bool],
    probe: str,
    values: dict[str, Any],
) -> Hits:
    query = text(f"SELECT count(*) FROM ({probe} LIMIT :most)")
    n = session.connection().execute(query, {**values, "most": FEW + 1}).scalar_one()
    if n <= FEW:
        return Hits(exact, exact, n)
    # ILIKE folds only ASCII here, so only there do both mean the same
    return Hits(plain if values["words"].isascii() else exact, exact)


def _is_indexed(session: Session, words: str) -> bool:
    return len(words) >= MIN_CHARACTERS and "\0" not in words and _is_sqlite(session)


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _place(session: Session, dataset_id: str) -> int | None:
    query = text("SELECT number FROM dataset_place WHERE dataset_id = :id")
    return session.connection().execute(query, {"id": dataset_id}).scalar_one_or_none()


def _owner_place(session: Session, owner_id: str) -> tuple[int, int] | None:
    """The owner's number, and how often something has changed."""
    query = text("SELECT number, changes FROM owner_place WHERE owner_id = :id")
    found = session.connection().execute(query, {"id": owner_id}).one_or_none()
    return None if found is None else (found[0], found[1])


def _phrase(words: str) -> str:
    """The words as one phrase of FTS5's language: nothing in them is an operator."""
    return '"' + words.replace('"', '""') + '"'
