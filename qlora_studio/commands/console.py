"""What every command shares: the database made ready, who is acting, and how answers and errors are printed.

Exit codes: 0 done, 1 failed, 2 wrong input, 3 stopped, 4 lost, 130 interrupted.
Errors go to standard error, with `--json` as its last line.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table
from sqlmodel import Session, col, select

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import Forbidden, InvalidInput, NotFound, StudioError
from qlora_studio.core.logging import set_up_logging
from qlora_studio.core.settings import get_settings
from qlora_studio.db import engine as db
from qlora_studio.db import migrations
from qlora_studio.db.models import User

FAILED, WRONG_INPUT, STOPPED, LOST = 1, 2, 3, 4
LOCAL_USER = "local"
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
UserName = Annotated[
    str, typer.Option("--user", help="Act as this account (default: the first admin, else “local”).")
]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask whether it is meant.")]
out = Console()
err = Console(stderr=True)
P = ParamSpec("P")
R = TypeVar("R")


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Make a command print our own errors as one sentence and end with the right code."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        set_up_logging("WARNING")
        try:
            return function(*args, **kwargs)
        except StudioError as error:
            as_json = bool(kwargs.get("as_json"))
            users_of = [*getattr(error, "users_of", ())]
            _print_error(error.message, getattr(error, "fields", {}), users_of, as_json=as_json)
            raise typer.Exit(WRONG_INPUT if error.status in (404, 422) else FAILED) from error
        except ValidationError as error:
            fields = {".".join(map(str, e["loc"])): e["msg"] for e in error.errors(include_url=False)}
            _print_error("Some values are wrong.", fields, as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(WRONG_INPUT) from error

    return run


def _print_error(
    message: str, fields: dict[str, str], users_of: Sequence[str] = (), *, as_json: bool
) -> None:
    """Say what went wrong, with the fields that are wrong, or what uses the thing that is to go."""
    if as_json:
        also = {"users_of": users_of} if users_of else {}
        told = {"error": message, "fields": fields, **also}
        print(json.dumps(told, ensure_ascii=False), file=sys.stderr)
        return
    err.print(f"[bold red]error:[/] {plain(message)}", highlight=False, soft_wrap=True)
    for field, sentence in fields.items():
        if sentence not in message:
            err.print(f"  {plain(field)}: {plain(sentence)}", highlight=False, soft_wrap=True)
    for user in users_of:
        err.print(f"  {plain(user)}", highlight=False, soft_wrap=True)


def prepare_database() -> None:
    """Bring the database of the data folder to the newest schema; it is made if it is missing."""
    db.get_engine()
    migrations.upgrade()


@contextmanager
def acting(user: str, *, writes: bool = False) -> Iterator[tuple[Session, User]]:
    """Open a session and name who acts.

    Raises:
        NotFound: there is no such account.
    """
    actor = find_actor(user)
    with db.write() if writes else db.read() as session:
        yield session, actor


def find_actor(name: str) -> User:
    """The account to act as. Without a name: the first admin, else a local account, made if there is none.

    The local account has no password: nobody can sign in with it.

    Raises:
        NotFound: there is no account of that name.
        Forbidden: it is disabled.
    """
    prepare_database()
    found = known_actor(name)
    if name and found is None:
        raise NotFound(f"There is no account “{name}”.")
    return found or _make_local_user()


def known_actor(name: str) -> User | None:
    """The same, without making one.

    Raises:
        Forbidden: it is disabled.
    """
    with db.read() as session:
        if name:
            found = session.exec(select(User).where(User.username_key == name.casefold())).first()
            if found is not None and found.disabled_at is not None:
                raise Forbidden(f"The account “{name}” is disabled.")
            return found
        admins = select(User).where(User.role == Role.ADMIN, col(User.disabled_at).is_(None))
        admins = admins.order_by(col(User.created_at))
        local = select(User).where(User.username_key == LOCAL_USER)
        return session.exec(admins).first() or session.exec(local).first()


def _make_local_user() -> User:
    user = User(
        username=LOCAL_USER,
        username_key=LOCAL_USER,
        email="local@localhost",
        email_key="local@localhost",
        password_hash="!",
        role=Role.TRAINER,
    )
    with db.write() as session:
        session.add(user)
    return user


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(_plain_data(value), ensure_ascii=False, indent=2))


def tell(line: str, value: Any, *, as_json: bool) -> None:
    """Print a line, or what it says as one JSON document."""
    if as_json:
        print_json(value)
    else:
        print_line(line)


def _plain_data(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list):
        return [_plain_data(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain_data(item) for key, item in value.items()}
    return value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print rows as a table, or a sentence when there are none."""
    if not rows:
        out.print(empty)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(plain(str(cell)) for cell in row))
    out.print(table)


def plain(text: str) -> str:
    """Text of people, inert: no markup of ours, no control characters of the terminal."""
    return "".join(c if c.isprintable() else " " for c in text).replace("[", r"\[")


def print_line(text: str) -> None:
    """Print a line of text that may hold people's words."""
    out.print(plain(text), highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Tell how it goes, on standard error, so that standard output stays the answer."""
    err.print(plain(text), highlight=False, soft_wrap=True)


def print_fields(values: Mapping[str, Any]) -> None:
    """Print what is known of one thing, which has an id and a name; what is made of parts is left to JSON."""
    print_line(f"{values['id']}  {values['name']}")
    for name, value in values.items():
        if name not in ("id", "name") and value not in (None, "") and not isinstance(value, dict | list):
            print_line(f"  {name.replace('_', ' ')}: {value}")


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal whether it is meant; a script means it.

    Raises:
        typer.Abort: it isn't.
    """
    if not yes and _is_terminal():
        typer.confirm(question, abort=True, err=True)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def allow_root(kind: str, folder: str) -> None:
    """Let this process register a folder that its own user named on the command line."""
    import os

    name = f"QLORA_STUDIO_{kind.upper()}_ROOTS"
    settings = get_settings()
    known = settings.model_roots if kind == "model" else settings.dataset_roots
    os.environ[name] = ":".join(filter(None, [known, folder]))
    get_settings.cache_clear()


def parse_json_or_fail(text: str, what: str) -> Any:
    """Read JSON given on the command line.

    Raises:
        InvalidInput: it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{what} is not valid JSON.") from error


def end(code: int) -> None:
    """End the command with an exit code."""
    sys.stdout.flush()
    raise typer.Exit(code)
