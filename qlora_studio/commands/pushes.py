"""`qlora-studio adapters push` and `pushes …`: an adapter to the Hugging Face Hub, sent by this process."""

import time
from typing import Annotated, Literal

import typer

from qlora_studio.commands.completing import AdapterId, PushId
from qlora_studio.commands.console import (
    FAILED,
    JsonFlag,
    UserName,
    acting,
    command,
    end,
    find_actor,
    print_json,
    print_line,
    say,
    tell,
)
from qlora_studio.commands.datasets import find_credential
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.commands.progress import Bar
from qlora_studio.db import engine as db
from qlora_studio.db.models import HubPush, User
from qlora_studio.services import pushes
from qlora_studio.services.pushes import PushCreate, PushPublic

app = typer.Typer(help="Pushes to the Hub: list, cancel.", no_args_is_help=True)
_LOOK_EVERY_S = 0.2


@command
def push(
    adapter_id: AdapterId,
    repo_id: Annotated[str, typer.Argument(help="anna/prompts-lora, or a name under the token's account.")],
    *,
    credential: Annotated[str, typer.Option(help="Name or id of a credential for the Hub.")],
    public: Annotated[bool, typer.Option("--public", help="Anybody may see it.")] = False,
    merged: Annotated[bool, typer.Option("--merged", help="The merged model instead.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Push an adapter to a repository of the Hugging Face Hub, private unless --public is given."""
    actor = find_actor(user)
    weights: Literal["adapter", "merged"] = "merged" if merged else "adapter"
    form = PushCreate(
        repo_id=repo_id,
        credential_id=find_credential(actor, credential),
        is_private=not public,
        weights=weights,
    )
    with db.write() as session:
        asked = pushes.start(session, actor=actor, adapter_id=adapter_id, form=form, in_background=False)
    done = _follow(actor, asked.id, quiet=as_json)
    if as_json:
        print_json(PushPublic.of(done))
    elif done.status == "succeeded":
        print_line(done.url)
    if done.status != "succeeded":
        say(f"error: {done.error or 'It was cancelled.'}")
        end(FAILED)


@app.command("list")
@command
def list_(
    *,
    adapter: Annotated[str, typer.Option(help="Only those of this adapter (its id).")] = "",
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List your pushes, newest first."""
    with acting(user) as (session, actor):
        found, total = pushes.list_pushes(
            session, actor=actor, adapter_id=adapter or None, page=page, page_size=PAGE_SIZE
        )
    rows = [(p.id, p.adapter_id, p.repo_id, p.status, p.url or p.error) for p in found]
    print_page(
        [PushPublic.of(one) for one in found],
        ("ID", "Adapter", "Repository", "Status", ""),
        rows,
        total=total,
        page=page,
        empty="No pushes yet.",
        as_json=as_json,
    )


@app.command("cancel")
@command
def cancel(push_id: PushId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Cancel a push, or forget one that has ended; what the Hub has by then stays there."""
    with acting(user, writes=True) as (session, actor):
        pushes.cancel(session, actor=actor, push_id=push_id)
    tell(f"{push_id} is over.", {"id": push_id, "is_cancelled": True}, as_json=as_json)


def _follow(actor: User, push_id: str, *, quiet: bool) -> HubPush:
    """Send it, or watch the server that does; Ctrl-C cancels it."""
    sending = pushes.launch(push_id)
    try:
        with Bar(quiet=quiet) as bar:
            while True:
                sending.join(_LOOK_EVERY_S)
                with db.read() as session:
                    found = pushes.get_push(session, actor=actor, push_id=push_id)
                if found.status not in pushes.ACTIVE:
                    return found
                sent = f"Sending: {found.done_bytes / 1e6:.1f} of {found.total_bytes / 1e6:.1f} MB"
                bar.show(sent, found.done_bytes, found.total_bytes)
                if not sending.is_alive():  # another process is about it
                    time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        with db.write() as session:
            pushes.cancel(session, actor=actor, push_id=push_id)
        raise
