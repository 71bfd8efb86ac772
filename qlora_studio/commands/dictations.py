"""`qlora-studio dictations …`: a model writes clips down, people correct it, and that becomes a dataset."""

from typing import Annotated

import typer

from qlora_studio.commands.completing import AdapterOption, ClipId, DatasetId, DictationId, ModelOption
from qlora_studio.commands.console import (
    FAILED,
    JsonFlag,
    UserName,
    YesFlag,
    acting,
    command,
    confirm,
    end,
    find_actor,
    print_json,
    print_line,
    print_table,
    say,
    tell,
)
from qlora_studio.commands.following import follow
from qlora_studio.commands.inference import Strength
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.contracts.enums import DictationStatus
from qlora_studio.db import engine as db
from qlora_studio.db.models import User
from qlora_studio.services import dictating, dictations
from qlora_studio.services.dictation_schemas import DictationCreate, DictationPublic, TranscriptPublic

app = typer.Typer(
    help="Clips written down by a model: make, stop, list, show, correct, apply, dataset, delete.",
    no_args_is_help=True,
)
_LOOK_EVERY_S = 0.2
_COLUMNS = ("ID", "Model", "Status", "Heard", "Looked at")
_EMPTY = "No dictations yet."


@app.command("make")
@command
def make(
    dataset_id: DatasetId,
    *,
    model: ModelOption,
    adapter: AdapterOption = "",
    strength: Strength = 1.0,
    all_clips: Annotated[bool, typer.Option("--all", help="Also clips that have words already.")] = False,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Have a speech model write down a dataset's clips; Ctrl-C stops, and what was heard stays."""
    actor = find_actor(user)
    form = DictationCreate(
        model_id=model,
        adapter_id=adapter or None,
        strength=strength,
        clips="all" if all_clips else "without_text",
    )
    with db.write() as session:
        asked = dictations.start(session, actor=actor, dataset_id=dataset_id, form=form, in_background=False)
    found = _follow(actor, asked.id, quiet=as_json)
    _print(found, as_json=as_json)
    if found.status is DictationStatus.FAILED:
        say(f"error: {found.error}")
        end(FAILED)


@app.command("list")
@command
def list_(
    dataset_id: DatasetId, page: PageNumber = 1, user: UserName = "", as_json: JsonFlag = False
) -> None:
    """List a dataset's dictations, newest first."""
    with acting(user) as (session, actor):
        rows, total = dictations.list_dictations(
            session, actor=actor, dataset_id=dataset_id, page=page, page_size=PAGE_SIZE
        )
    found = [DictationPublic.of(row) for row in rows]
    print_page(found, _COLUMNS, _cells(found), total=total, page=page, empty=_EMPTY, as_json=as_json)


@app.command("show")
@command
def show(
    dictation_id: DictationId,
    only: Annotated[str, typer.Option(help="open or checked.")] = "",
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Show what was heard in each clip, and what somebody says was said."""
    if only not in ("", "open", "checked"):
        raise typer.BadParameter("Choose open or checked.", param_hint="--only")
    found: list[TranscriptPublic] = []
    with acting(user) as (session, actor):
        page = 1
        while True:
            rows, total = dictations.list_transcripts(
                session,
                actor=actor,
                dictation_id=dictation_id,
                show=only or None,  # type: ignore[arg-type]
                page=page,
                page_size=PAGE_SIZE,
            )
            found += [TranscriptPublic.of(row, clip) for row, clip in rows]
            if not rows or len(found) >= total:
                break
            page += 1
    if as_json:
        print_json(found)
        return
    cells = [(t.clip_id, t.filename, t.heard or t.error, t.text or "") for t in found]
    print_table(("Clip", "File", "Heard", "Said"), cells, empty="No clips.")


@app.command("correct")
@command
def correct(
    dictation_id: DictationId, clip_id: ClipId, text: str, user: UserName = "", as_json: JsonFlag = False
) -> None:
    """Say what was really said in a clip; an empty text takes that back."""
    with acting(user, writes=True) as (session, actor):
        row = dictations.put(session, actor=actor, dictation_id=dictation_id, clip_id=clip_id, text=text)
        said = row.text
    line = f"{clip_id}: {said}" if said else f"{clip_id} is to be looked at again."
    tell(line, {"clip_id": clip_id, "text": said}, as_json=as_json)


@app.command("apply")
@command
def apply(dictation_id: DictationId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Give the dataset's clips the corrected texts, as its next version."""
    with acting(user, writes=True) as (session, actor):
        done = dictations.apply(session, actor=actor, dictation_id=dictation_id)
    if as_json:
        print_json(done)
    else:
        print_line(f"{done.n_changed} clips have another text now: version {done.version}.")


@app.command("dataset")
@command
def dataset(
    dictation_id: DictationId,
    name: Annotated[str, typer.Argument(help="What the new dataset is called.")],
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a dataset of the clips that were looked at."""
    with acting(user, writes=True) as (session, actor):
        made = dictations.make_dataset(session, actor=actor, dictation_id=dictation_id, name=name)
        line = f"{made.id}: {made.n_clips} clips."
    tell(line, {"id": made.id, "name": made.name, "n_clips": made.n_clips}, as_json=as_json)


@app.command("stop")
@command
def stop(dictation_id: DictationId, user: UserName = "", as_json: JsonFlag = False) -> None:
    """Write down no more; what was heard stays."""
    with acting(user, writes=True) as (session, actor):
        found = DictationPublic.of(dictations.stop(session, actor=actor, dictation_id=dictation_id))
    _print(found, as_json=as_json)


@app.command("delete")
@command
def delete(
    dictation_id: DictationId, yes: YesFlag = False, user: UserName = "", as_json: JsonFlag = False
) -> None:
    """Delete a dictation with what was heard and corrected."""
    confirm(f"Delete {dictation_id} with what was heard and corrected?", yes=yes)
    with acting(user, writes=True) as (session, actor):
        dictations.remove(session, actor=actor, dictation_id=dictation_id)
    tell(f"{dictation_id} is gone.", {"id": dictation_id, "is_deleted": True}, as_json=as_json)


def _read(actor: User, dictation_id: str) -> DictationPublic:
    with db.read() as session:
        return DictationPublic.of(dictations.get_dictation(session, actor=actor, dictation_id=dictation_id))


def _follow(actor: User, dictation_id: str, *, quiet: bool) -> DictationPublic:
    """Write it down here and tell how far it is; Ctrl-C stops it."""
    return follow(
        lambda: dictating.run(dictation_id),
        read=lambda: _read(actor, dictation_id),
        tell=lambda found: (f"{found.n_done} of {found.n_clips} clips", found.n_done, found.n_clips),
        call_off=lambda session: dictations.stop(session, actor=actor, dictation_id=dictation_id),
        quiet=quiet,
    )


def _print(found: DictationPublic, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, _cells([found]), empty=_EMPTY)


def _cells(found: list[DictationPublic]) -> list[tuple[object, ...]]:
    return [
        (d.id, d.adapter_name or d.model_name, d.status.value, f"{d.n_done} of {d.n_clips}", d.n_checked)
        for d in found
    ]
