"""`qlora-studio`: the command line. Everything here works with no server running."""

import os
from typing import Annotated

import typer

from qlora_studio.commands import (
    accounts,
    adapters,
    backups,
    credentials,
    dataset_content,
    datasets,
    dictations,
    doctor,
    feedback,
    generations,
    inference,
    job_records,
    jobs,
    listening,
    models,
    notifications,
    preferences,
    prompts,
    queue,
    sweeps,
    training,
)

app = typer.Typer(
    help="Fine-tune audio models in 4 bits: bring recordings, train an adapter, watch it learn.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(datasets.app, name="dataset")
datasets.app.command("report")(dataset_content.report)
datasets.app.command("exclude")(dataset_content.exclude)
datasets.app.command("include")(dataset_content.include)
datasets.app.command("split")(dataset_content.split)
datasets.app.command("versions")(dataset_content.list_versions)
datasets.app.command("restore")(dataset_content.restore)
datasets.app.command("export")(dataset_content.export)
app.add_typer(credentials.app, name="credential")
app.add_typer(models.app, name="model")
app.add_typer(jobs.app, name="jobs")
jobs.app.command("logs")(job_records.logs)
jobs.app.command("metrics")(job_records.metrics)
jobs.app.command("samples")(job_records.samples)
jobs.app.command("compare")(job_records.compare)
app.add_typer(queue.app, name="queue")
app.add_typer(sweeps.app, name="sweeps")
app.add_typer(adapters.app, name="adapters")
app.add_typer(notifications.app, name="notifications")
app.command("transcribe")(inference.transcribe)
app.command("classify")(inference.classify)
app.command("diarize")(inference.diarize)
app.command("generate")(inference.generate)
app.add_typer(dictations.app, name="dictations")
app.add_typer(generations.app, name="generations")
app.add_typer(prompts.app, name="prompts")
app.add_typer(feedback.app, name="feedback")
app.add_typer(preferences.app, name="preferences")
app.add_typer(listening.app, name="listening")
app.command("train")(training.train)
app.command("sweep")(sweeps.sweep)
app.command("export")(jobs.export)
app.command("share")(accounts.share)
app.add_typer(accounts.users, name="user")
app.add_typer(accounts.scripts, name="token")
app.command("audit")(accounts.print_audit)
app.command("doctor")(doctor.doctor)
app.command("backup")(backups.backup)
app.command("restore")(backups.restore)


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
