"""`qlora-studio share`, `user …`, `token …` and `audit`: accounts, from the machine of the studio."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from qlora_studio.commands.completing import AccountName, TokenId
from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    YesFlag,
    acting,
    command,
    confirm,
    find_actor,
    print_fields,
    print_json,
    print_line,
    print_table,
    say,
    tell,
)
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.contracts.enums import Role, Sharing, TokenScope
from qlora_studio.core.errors import NotFound
from qlora_studio.core.settings import get_settings
from qlora_studio.db.models import User
from qlora_studio.services import accounts, audit, people, profile, sharing, tokens
from qlora_studio.services.audit import AuditFilter
from qlora_studio.services.people import UserUpdate
from qlora_studio.services.profile import ProfileUpdate
from qlora_studio.services.tokens import TokenCreate

users = typer.Typer(
    help="Accounts: list, show, change, reset a password, delete (as an admin).", no_args_is_help=True
)
scripts = typer.Typer(help="Tokens for scripts: make, list, revoke.", no_args_is_help=True)
_KINDS = {"ds": "dataset", "mod": "model", "job": "job", "ada": "adapter"}


@command
def share(
    thing_id: Annotated[str, typer.Argument(help="Of a dataset, model, job or adapter.")],
    level: Annotated[Sharing, typer.Argument(help="private, read (look) or use (train with it, too).")],
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Let others see or use something, or no longer."""
    kind = _KINDS.get(thing_id.partition("_")[0], "")
    with acting(user, writes=True) as (session, actor):
        sharing.share(session, actor=actor, kind=kind, thing_id=thing_id, sharing=level)
        note = sharing.note_on(session, kind=kind, thing_id=thing_id)
    tell(
        f"{thing_id}: {level.value}", {"id": thing_id, "sharing": level.value, "note": note}, as_json=as_json
    )
    if note:
        say(note)


@users.command("list")
@command
def list_users(
    query: Annotated[str, typer.Option(help="Part of the username, name or e-mail address.")] = "",
    role: Annotated[Role | None, typer.Option(help="Only this role.")] = None,
    *,
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List accounts with what each keeps."""
    with acting(user) as (session, actor):
        found, total = people.list_people(
            session, actor=actor, query=query, role=role, page=page, page_size=PAGE_SIZE
        )
    rows = [
        (
            p.user.username,
            p.user.email,
            p.user.role.value + (", disabled" if p.user.disabled_at else ""),
            f"{p.held_bytes / 1e9:.1f} of {p.limit_bytes / 1e9:.1f} GB",
            f"{p.n_queued} of {p.limit_jobs}",
        )
        for p in found
    ]
    print_page(
        [_public(person) for person in found],
        ("Username", "E-mail", "Role", "Kept", "Jobs in the queue"),
        rows,
        total=total,
        page=page,
        empty="No accounts.",
        as_json=as_json,
    )


@users.command("show")
@command
def show_user(name: AccountName, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Show an account with what it keeps."""
    with acting(user) as (session, actor):
        found = _public(people.get_person(session, actor=actor, user_id=_find(session, name).id))
    print_json(found) if as_json else print_fields(found | {"name": found["username"]})


@command
def me(
    name: Annotated[str | None, typer.Option(help="Another name to be shown by.")] = None,
    theme: Annotated[str | None, typer.Option(help="Pages in light, dark or system colours.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show as whom commands act; with an option, change that first."""
    actor = find_actor(user)
    given = {key: value for key, value in {"name": name, "theme": theme}.items() if value is not None}
    if given:
        actor = profile.update(actor=actor, form=ProfileUpdate.model_validate(given))
    found = actor.model_dump(mode="json", include={"id", "username", "name", "email", "role"})
    tell(f"{actor.username} ({actor.role.value})", found, as_json=as_json)


@users.command("set")
@command
def set_user(
    name: AccountName,
    *,
    role: Annotated[Role | None, typer.Option(help="admin, trainer, rater or viewer.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Let in, or lock out.")] = None,
    max_gb: Annotated[
        float | None, typer.Option(help="GB it may keep; negative: as the settings say.")
    ] = None,
    max_jobs: Annotated[
        int | None, typer.Option(help="Jobs in the queue; negative: as the settings say.")
    ] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Change an account's role or limits, disable it or let it in again."""
    values: dict[str, object] = {}
    if role is not None:
        values["role"] = role
    if enabled is not None:
        values["is_disabled"] = not enabled
    if max_gb is not None:
        values["max_bytes"] = round(max_gb * 1e9) if max_gb >= 0 else None
    if max_jobs is not None:
        values["max_queued_jobs"] = max_jobs if max_jobs >= 0 else None
    with acting(user, writes=True) as (session, actor):
        key = _find(session, name).id
        people.update(session, actor=actor, user_id=key, form=UserUpdate.model_validate(values))
    tell(f"{name} is changed", {"id": key, "username": name} | values, as_json=as_json)


@users.command("reset-password")
@command
def reset_password(name: AccountName, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Print a link by which somebody sets a new password, once, within a day."""
    with acting(user, writes=True) as (session, actor):
        link = people.make_reset_link(session, actor=actor, user_id=_find(session, name).id)
    address = get_settings().base_url + link.path
    tell(address, {"username": name, "url": address}, as_json=as_json)


@users.command("delete")
@command
def delete_user(
    name: AccountName,
    heir: Annotated[str, typer.Option("--to", help="Who gets what it owns.")] = "",
    yes: YesFlag = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Delete an account; what it owns goes to somebody else."""
    confirm(f"Delete the account “{name}”?", yes=yes)
    with acting(user, writes=True) as (session, actor):
        heir_id = _find(session, heir).id if heir else ""
        people.delete_user(session, actor=actor, user_id=_find(session, name).id, heir_id=heir_id)
    tell(f"{name} is deleted", {"username": name, "is_deleted": True}, as_json=as_json)


@scripts.command("create")
@command
def create_token(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    scope: Annotated[TokenScope, typer.Option(help="read, or all.")] = TokenScope.READ,
    days: Annotated[int, typer.Option(help="How long it is good for; 0: until it is revoked.", min=0)] = 90,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a token and print it, this once."""
    form = TokenCreate(name=name, scope=scope, days=days or None)
    with acting(user, writes=True) as (session, actor):
        made = tokens.create(session, actor=actor, form=form)
    say("Keep it: it is not shown again.")
    tell(made.secret, {"id": made.token.id, "name": name, "token": made.secret}, as_json=as_json)


@scripts.command("list")
@command
def list_tokens(user: UserName = "", as_json: JsonFlag = False) -> None:
    """List tokens, without their secrets."""
    with acting(user) as (session, actor):
        found = tokens.list_tokens(session, actor=actor)
    if as_json:
        print_json([one.model_dump(mode="json", exclude={"token_hash", "user_id"}) for one in found])
        return
    rows = [
        (t.id, t.name, f"{t.hint}…", t.scope.value, _day(t.expires_at), _day(t.last_used_at)) for t in found
    ]
    print_table(("ID", "Name", "Begins", "For", "Expires", "Last used"), rows, empty="No tokens yet.")


@scripts.command("revoke")
@command
def revoke_token(token_id: TokenId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """End a token at once."""
    with acting(user, writes=True) as (session, actor):
        tokens.revoke(session, actor=actor, token_id=token_id)
    tell(f"{token_id} is revoked", {"id": token_id, "is_revoked": True}, as_json=as_json)


@command
def print_audit(
    query: Annotated[str, typer.Option(help="Words in names.")] = "",
    *,
    who: Annotated[str, typer.Option(help="A username.")] = "",
    action: Annotated[str, typer.Option(help="dataset.create, or dataset for all of datasets.")] = "",
    thing: Annotated[str, typer.Option("--object", help="An id, or a kind.")] = "",
    csv: Annotated[Path | None, typer.Option(help="Write all lines to this file instead.")] = None,
    last: Annotated[int, typer.Option(help="So many lines.", min=1, max=10_000)] = 100,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show who did what, the newest first."""
    wanted = AuditFilter(query=query, who=who, action=action, object=thing)
    if csv is not None:
        with csv.open("wb") as file:
            file.writelines(audit.write_csv(actor=find_actor(user), wanted=wanted))
        print_line(str(csv))
        return
    with acting(user) as (session, actor):
        found, total = audit.list_events(session, actor=actor, wanted=wanted, page_size=last)
    rows = [(f"{e.at:%Y-%m-%d %H:%M}", e.actor_name, e.action, e.object_name or e.object_id) for e in found]
    print_page(
        [event.model_dump(mode="json") for event in found],
        ("Time (UTC)", "Who", "What", "To"),
        rows,
        total=total,
        page_size=last,
        more="--last shows more, --csv all",
        empty="Nothing matches.",
        as_json=as_json,
    )


def _find(session: object, name: str) -> User:
    found = accounts.find_by(session, username_key=name.casefold())  # type: ignore[arg-type]
    if found is None:
        raise NotFound(f"There is no account “{name}”.")
    return found


def _public(person: people.Person) -> dict[str, object]:
    user = person.user.model_dump(mode="json", include={"id", "username", "name", "email", "role"})
    limits = {"held_bytes": person.held_bytes, "limit_bytes": person.limit_bytes}
    jobs = {"n_queued": person.n_queued, "limit_jobs": person.limit_jobs}
    return {**user, "is_disabled": person.user.disabled_at is not None, **limits, **jobs}


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d}" if at is not None else "never"
