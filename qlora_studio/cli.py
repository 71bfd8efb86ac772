"""`qlora-studio`: the command line. Everything here works with no server running.

A command's module is imported when that command is asked for, so that the shell completes without waiting for
all of them.
"""

import os
from importlib import import_module
from typing import Annotated, Any

import typer
from click.shell_completion import CompletionItem
from typer.core import TyperGroup

# By name, in the order of the help: the modules that make it, and where in the first one it is.
_COMMANDS = {
    "dataset": ("datasets dataset_records dataset_content dataset_mapping", "app"),
    "credential": ("credentials", "app"),
    "model": ("models", "app"),
    "jobs": ("jobs job_records", "app"),
    "queue": ("queue", "app"),
    "sweeps": ("sweeps", "app"),
    "adapters": ("adapters", "app"),
    "pushes": ("pushes", "app"),
    "notifications": ("notifications", "app"),
    "transcribe": ("inference", "transcribe"),
    "classify": ("inference", "classify"),
    "diarize": ("inference", "diarize"),
    "generate": ("inference", "generate"),
    "dictations": ("dictations", "app"),
    "generations": ("generations", "app"),
    "prompts": ("prompts", "app"),
    "feedback": ("feedback", "app"),
    "preferences": ("preferences", "app"),
    "listening": ("listening", "app"),
    "train": ("training", "train"),
    "sweep": ("sweeps", "sweep"),
    "export": ("jobs", "export"),
    "share": ("accounts", "share"),
    "user": ("accounts", "users"),
    "me": ("accounts", "me"),
    "token": ("accounts", "scripts"),
    "audit": ("accounts", "print_audit"),
    "doctor": ("doctor", "doctor"),
    "backup": ("backups", "backup"),
    "restore": ("backups", "restore"),
}


class _Commands(TyperGroup):
    """The commands above, each imported when it is asked for, and those of this module."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*_COMMANDS, *super().list_commands(ctx)]

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name) for name in self.list_commands(ctx) if name.startswith(incomplete)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        modules, place = _COMMANDS[cmd_name]
        first, *_ = [import_module(f"qlora_studio.commands.{module}") for module in modules.split()]
        found = getattr(first, place)
        if isinstance(found, typer.Typer):
            built: Any = typer.main.get_group(found)
        else:
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            alone.command(cmd_name)(found)
            built = typer.main.get_command(alone)
        built.name = cmd_name
        return built


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def studio() -> None:
    """Fine-tune audio models in 4 bits: bring recordings, train an adapter, watch it learn."""


@app.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "",
    port: Annotated[int, typer.Option(help="Port for pages, API and websocket.", min=0, max=65535)] = 0,
) -> None:
    """Build the pages if they changed, and serve everything on one port."""
    if host:
        os.environ["QLORA_STUDIO_HOST"] = host
    if port:
        os.environ["QLORA_STUDIO_PORT"] = str(port)
    from qlora_studio import serve as server

    server.main()


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
