"""`qlora-studio credential …`: keys to clouds and the Hub. What they hold is asked for, never an argument."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from qlora_studio.commands.completing import CredentialId
from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    YesFlag,
    acting,
    command,
    confirm,
    print_json,
    print_line,
    print_table,
)
from qlora_studio.services import credentials

app = typer.Typer(help="Credentials for clouds and the Hub: add, list, delete.", no_args_is_help=True)


class Kind(StrEnum):
    """What a credential opens: S3, Google Cloud Storage, the Hugging Face Hub."""

    S3 = "s3"
    GS = "gs"
    HUB = "hub"


@app.command("add")
@command
def add(
    kind: Annotated[Kind, typer.Argument(help="s3, gs or hub.")],
    name: Annotated[str, typer.Argument(help="What to call it.")],
    *,
    key_file: Annotated[Path | None, typer.Option(help="gs: the JSON key file of a service account.")] = None,
    region: Annotated[str, typer.Option(help="s3: the bucket's region, if it isn't found.")] = "",
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Keep a credential, encrypted. Its secrets are asked for, or read from standard input line by line."""
    given: dict[str, Any] = {"kind": kind.value, "name": name}
    if kind is Kind.S3:
        given |= {"key": _ask("Access key"), "secret": _ask("Secret key"), "region": region or None}
    elif kind is Kind.HUB:
        given |= {"token": _ask("Token")}
    else:
        given |= {"service_account": key_file.read_text() if key_file else _ask("JSON key")}
    form = TypeAdapter(credentials.CredentialCreate).validate_python(given)
    with acting(user, writes=True) as (session, actor):
        made = credentials.create(session, actor=actor, form=form)
    if as_json:
        print_json(_public(made))
    else:
        print_line(f"{made.id}  {made.name}")


@app.command("list")
@command
def list_(user: UserName = "", as_json: JsonFlag = False) -> None:
    """List credentials, without what they hold."""
    with acting(user) as (session, actor):
        found = credentials.list_credentials(session, actor=actor)
    if as_json:
        print_json([_public(credential) for credential in found])
        return
    rows = [(c.id, c.name, c.kind, f"{c.created_at:%Y-%m-%d}") for c in found]
    print_table(("ID", "Name", "For", "Added"), rows, empty="No credentials yet.")


@app.command("delete")
@command
def delete(
    credential_id: CredentialId,
    yes: YesFlag = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Delete a credential; datasets that were fetched with it stay."""
    confirm(f"Delete the credential {credential_id}?", yes=yes)
    with acting(user, writes=True) as (session, actor):
        credentials.delete(session, actor=actor, credential_id=credential_id)
    if as_json:
        print_json({"deleted": credential_id})


def _ask(what: str) -> str:
    return str(typer.prompt(what, hide_input=True, err=True))


def _public(credential: Any) -> dict[str, Any]:
    return credential.model_dump(mode="json", include={"id", "name", "kind", "created_at"})
