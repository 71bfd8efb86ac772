"""`qlora-studio prompts …`: texts that an account keeps under names of its own."""

from typing import Annotated

import typer

from qlora_studio.commands.completing import TemplateId
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
    tell,
)
from qlora_studio.services import prompt_templates
from qlora_studio.services.prompt_template_schemas import (
    PromptTemplateCreate,
    PromptTemplatePublic,
    PromptTemplateUpdate,
)

app = typer.Typer(help="Texts kept under a name: keep, list, change, delete.", no_args_is_help=True)


@app.command("keep")
@command
def keep(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    prompt: Annotated[str, typer.Argument(help="What the sound should be.")],
    *,
    model: Annotated[str, typer.Option(help="The model that goes with it (its id).")] = "",
    adapter: Annotated[str, typer.Option(help="The adapter that goes with it (its id).")] = "",
    strength: Annotated[float, typer.Option(help="Of the adapter, 0 to 2.")] = 1.0,
    takes: Annotated[int, typer.Option(help="How many, 16 at most.")] = 1,
    seconds: Annotated[float, typer.Option(help="How long each becomes, 30 at most.")] = 8.0,
    seed: Annotated[int | None, typer.Option(help="Drawn each time if none is given.")] = None,
    guidance: Annotated[float, typer.Option(help="How much to follow the text, 1 to 20.")] = 3.0,
    temperature: Annotated[float, typer.Option(help="How varied, 0.1 to 2.")] = 1.0,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Keep a text with its settings."""
    form = PromptTemplateCreate(
        name=name,
        prompt=prompt,
        model_id=model or None,
        adapter_id=adapter or None,
        strength=strength,
        n_takes=takes,
        duration_s=seconds,
        seed=seed,
        guidance=guidance,
        temperature=temperature,
    )
    with acting(user, writes=True) as (session, actor):
        found = PromptTemplatePublic.of(prompt_templates.create(session, actor=actor, form=form))
    print_json(found) if as_json else print_line(f"{found.id}: {found.name}")


@app.command("list")
@command
def list_(user: UserName = "", as_json: JsonFlag = False) -> None:
    """List the texts that are kept, by name."""
    with acting(user) as (session, actor):
        rows = prompt_templates.list_templates(session, actor=actor)
    found = [PromptTemplatePublic.of(row) for row in rows]
    if as_json:
        print_json(found)
        return
    cells = [(t.id, t.name, t.prompt[:60]) for t in found]
    print_table(("ID", "Name", "Text"), cells, empty="No texts are kept yet.")


@app.command("change")
@command
def change(
    template_id: TemplateId,
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Another text.")] = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Change a name or a text."""
    form = PromptTemplateUpdate(name=name, prompt=prompt)
    with acting(user, writes=True) as (session, actor):
        row = prompt_templates.update(session, actor=actor, template_id=template_id, form=form)
        found = PromptTemplatePublic.of(row)
    print_json(found) if as_json else print_line(f"{found.id}: {found.name}")


@app.command("delete")
@command
def delete(
    template_id: TemplateId, yes: YesFlag = False, user: UserName = "", as_json: JsonFlag = False
) -> None:
    """Keep a text no longer."""
    confirm(f"Delete {template_id}?", yes=yes)
    with acting(user, writes=True) as (session, actor):
        prompt_templates.remove(session, actor=actor, template_id=template_id)
    tell(f"{template_id} is gone.", {"id": template_id, "is_deleted": True}, as_json=as_json)
