"""`qlora-studio adapters …`: list, sort in, activate, download, import, merge and push."""

from pathlib import Path
from typing import Annotated

import typer

from qlora_studio.commands.completing import AdapterId
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
)
from qlora_studio.commands.jobs import ZipPath, save_new
from qlora_studio.commands.lists import PAGE_SIZE, PageNumber, print_page
from qlora_studio.commands.progress import Bar
from qlora_studio.commands.pushes import push
from qlora_studio.commands.registry import (
    activate,
    archive,
    deactivate,
    delete,
    edit,
    lineage,
    result_text,
    show,
    unarchive,
    unmerge,
)
from qlora_studio.contracts.enums import AdapterStage, Verdict
from qlora_studio.core.errors import InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.services import adapter_imports, adapters, merging, results
from qlora_studio.services.access import Shelf
from qlora_studio.services.adapter_imports import AdapterImport
from qlora_studio.services.adapter_schemas import AdapterPublic

_LOOK_EVERY_S = 0.2
app = typer.Typer(
    help="Adapters: list, show, edit, activate, download, import, merge, push, delete.", no_args_is_help=True
)


@app.command("list")
@command
def list_(
    query: Annotated[str, typer.Option(help="Part of the name, the notes, a tag or the model's name.")] = "",
    *,
    stage: Annotated[AdapterStage | None, typer.Option(help="Only those that have come so far.")] = None,
    model: Annotated[str, typer.Option(help="Only those of the base model with this id.")] = "",
    tag: Annotated[str, typer.Option(help="Only those with this tag.")] = "",
    verdict: Annotated[Verdict | None, typer.Option(help="Only those whose certificate says so.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Those that are put away.")] = False,
    sort: Annotated[str, typer.Option(help="A column, - in front for descending.")] = "-created_at",
    shared: Annotated[bool, typer.Option("--shared", help="Those that others share.")] = False,
    page: PageNumber = 1,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List adapters, newest first; the active ones are marked with a star."""
    with acting(user) as (session, actor):
        found, total = adapters.list_adapters(
            session,
            actor=actor,
            query=query,
            stage=stage,
            model_id=model or None,
            tag=tag or None,
            verdict=verdict,
            archived=archived,
            sort=sort,
            page=page,
            page_size=PAGE_SIZE,
            shelf=Shelf.SHARED if shared else Shelf.MINE,
        )
    rows = [
        (
            v.adapter.id,
            v.adapter.name + (" *" if v.adapter.is_active else ""),
            v.model_name,
            v.adapter.stage.value,
            result_text(v.adapter),
            str(v.adapter.certificate.get("verdict", "")).replace("_", " "),
            f"{v.adapter.size_bytes / 1e6:.1f} MB",
        )
        for v in found
    ]
    print_page(
        [AdapterPublic.of(view) for view in found],
        ("ID", "Name", "Base model", "Stage", "Result", "Effect", "Size"),
        rows,
        total=total,
        page=page,
        empty="No adapters yet.",
        as_json=as_json,
    )


@app.command("download")
@command
def download(
    adapter_id: AdapterId,
    to: ZipPath = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Write an adapter as a zip that plain peft loads."""
    with acting(user) as (session, actor):
        name, pieces = results.stream_adapter(session, actor=actor, adapter_id=adapter_id)
        save_new(to or Path(name), pieces, as_json=as_json)


@app.command("import")
@command
def import_(
    source: Annotated[Path, typer.Argument(help="A folder that PEFT saved, or a zip of one.")],
    *,
    model: Annotated[str, typer.Option(help="Id of the base model it was trained on.")],
    name: Annotated[str, typer.Option(help="The name to show.")] = "",
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Check an adapter made elsewhere and add it."""
    if not source.exists():
        raise InvalidInput(f"There is nothing at {source}.")
    path = source.resolve()
    form = AdapterImport(model_id=model, name=name, file_name=path.name[:200])
    view = adapter_imports.take_in(actor=find_actor(user), source=path, form=form)
    if as_json:
        print_json(AdapterPublic.of(view))
        return
    origin = view.adapter.origin
    size = f"LoRA of rank {origin['rank']} on {origin['n_layers']} layers"
    print_line(f"{view.adapter.id}  {view.adapter.name}: {size}")
    for left_out in origin["dropped"]:
        print_line(f"left out: {left_out}")


@app.command("merge")
@command
def merge(
    adapter_id: AdapterId,
    *,
    bits: Annotated[int, typer.Option(help="16 or 32 bits for each weight.")] = 16,
    to: Annotated[Path | None, typer.Option(help="Also write it as a zip file.")] = None,
    register: Annotated[bool, typer.Option(help="Add it as a base model.")] = False,
    name: Annotated[str, typer.Option(help="The base model's name.")] = "",
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Merge an adapter into its base model, and compare their outputs."""
    actor = find_actor(user)
    merging.start(actor=actor, adapter_id=adapter_id, bits=bits)
    try:
        with Bar(quiet=as_json) as bar:
            while not merging.wait(adapter_id, _LOOK_EVERY_S):
                with db.read() as session:
                    bar.show(merging.get_status(session, actor=actor, adapter_id=adapter_id).progress)
    except KeyboardInterrupt:
        with db.write() as session:
            merging.remove(session, actor=actor, adapter_id=adapter_id)
        raise
    with db.read() as session:
        status = merging.get_status(session, actor=actor, adapter_id=adapter_id)
    if status.report is None or status.message:
        say(f"error: {status.message or 'It was cancelled.'}")
        end(FAILED)
    model = merging.register(actor=actor, adapter_id=adapter_id, name=name) if register else None
    if as_json:
        print_json({"merge": status.model_dump(), "model_id": model.id if model else None})
    else:
        print_line(status.report.sentence if status.report else "")
        if model:
            print_line(f"{model.id}  {model.name}: added as a base model")
    if to is not None:
        with db.read() as session:
            _, pieces = merging.stream_merged(session, actor=actor, adapter_id=adapter_id)
            save_new(to, pieces, as_json=as_json)


for _name, _run in {
    "push": push,
    "show": show,
    "edit": edit,
    "archive": archive,
    "unarchive": unarchive,
    "activate": activate,
    "deactivate": deactivate,
    "delete": delete,
    "unmerge": unmerge,
    "lineage": lineage,
}.items():
    app.command(_name)(_run)
