"""`qlora-studio adapters …`: list and download what jobs have left."""

from pathlib import Path
from typing import Annotated

import typer

from qlora_studio.commands.console import JsonFlag, UserName, acting, command, print_json, print_table
from qlora_studio.commands.jobs import ZipPath, save_new
from qlora_studio.contracts.metrics import first_of
from qlora_studio.db.models import Adapter
from qlora_studio.services import adapters
from qlora_studio.services.adapters import AdapterPublic

app = typer.Typer(help="Adapters: list, download.", no_args_is_help=True)


@app.command("list")
@command
def list_(
    query: Annotated[str, typer.Option(help="Part of the name or of the model's.")] = "",
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """List adapters, newest first."""
    with acting(user) as (session, actor):
        found, _ = adapters.list_adapters(session, actor=actor, query=query, page_size=100)
    if as_json:
        print_json([AdapterPublic.of(view) for view in found])
        return
    rows = [
        (
            v.adapter.id,
            v.adapter.name,
            v.model_name,
            _result(v.adapter),
            str(v.adapter.certificate.get("verdict", "")).replace("_", " "),
            f"{v.adapter.size_bytes / 1e6:.1f} MB",
        )
        for v in found
    ]
    print_table(("ID", "Name", "Base model", "Result", "Effect", "Size"), rows, empty="No adapters yet.")


@app.command("download")
@command
def download(
    adapter_id: str,
    to: ZipPath = None,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Write an adapter as a zip that plain peft loads."""
    with acting(user) as (session, actor):
        name, pieces = adapters.stream_adapter(session, actor=actor, adapter_id=adapter_id)
        save_new(to or Path(name), pieces, as_json=as_json)


def _result(adapter: Adapter) -> str:
    metric = first_of(adapter.metrics)
    before, after = adapter.base_metrics.get(metric.key), adapter.metrics.get(metric.key)
    return f"{metric.short} {metric.text(before)} -> {metric.text(after)}"
