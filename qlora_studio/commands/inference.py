"""`qlora-studio transcribe`, `classify`, `diarize` and `generate`: have a model hear or make a sound."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from qlora_studio.commands.completing import AdapterOption, ModelOption
from qlora_studio.commands.console import (
    JsonFlag,
    UserName,
    command,
    find_actor,
    print_json,
    print_line,
    say,
    tell,
)
from qlora_studio.commands.progress import Bar
from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.inference import EngineAnswer
from qlora_studio.core.errors import Conflict, InvalidInput
from qlora_studio.db import engine as db
from qlora_studio.services import adapters, inference, trial_clips
from qlora_studio.services.engine_host import Ticket
from qlora_studio.services.inference import Classification, Diarization, Transcription

_LOOK_EVERY_S = 0.2
_MOST_CLASSES = 10
_IS_THERE = "{} is there already. Name another with --output."
File = Annotated[Path, typer.Argument(help="A recording: WAV, FLAC, Ogg or MP3, ten minutes at most.")]
Strength = Annotated[float, typer.Option(help="The share of the adapter that counts, 0 to 2.")]
Result = TypeVar("Result", Transcription, Classification, Diarization)


@command
def transcribe(
    file: File,
    *,
    model: ModelOption,
    adapter: AdapterOption = "",
    strength: Strength = 1.0,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Write down what is said in a recording."""
    said = _hear(
        file,
        user,
        Task.SPEECH_TO_TEXT,
        inference.transcription,
        _wish(model, adapter, strength),
        quiet=as_json,
    )
    _tell(said, [said.text], as_json)


@command
def classify(
    file: File,
    *,
    model: ModelOption,
    adapter: AdapterOption = "",
    strength: Strength = 1.0,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Name the class of a recording, with how likely each is."""
    said = _hear(
        file,
        user,
        Task.AUDIO_CLASSIFICATION,
        inference.classification,
        _wish(model, adapter, strength),
        quiet=as_json,
    )
    most = said.classes[:_MOST_CLASSES]
    _tell(said, [f"{100 * item.probability:5.1f} %  {item.label}" for item in most], as_json)


@command
def diarize(
    file: File,
    *,
    model: ModelOption,
    adapter: AdapterOption = "",
    strength: Strength = 1.0,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Say who speaks when in a recording, as lines of RTTM."""
    said = _hear(
        file,
        user,
        Task.SPEAKER_DIARIZATION,
        inference.diarization,
        _wish(model, adapter, strength),
        quiet=as_json,
    )
    _tell(said, said.rttm.splitlines(), as_json)


@command
def generate(
    prompt: Annotated[str, typer.Argument(help="What the sound should be.")],
    *,
    model: ModelOption,
    output: Annotated[Path, typer.Option(help="The WAV file to write, a new one.")] = Path("sound.wav"),
    seconds: Annotated[float, typer.Option(help="How long it becomes, 30 at most.")] = 8.0,
    seed: Annotated[int, typer.Option(help="The same text and seed give the same sound.")] = 0,
    adapter: AdapterOption = "",
    strength: Strength = 1.0,
    user: UserName = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a sound of a text."""
    if output.exists():
        raise Conflict(_IS_THERE.format(output))
    actor = find_actor(user)
    with db.read() as session:
        ticket = inference.prepare_sound(
            session,
            actor=actor,
            model_id=model,
            prompt=prompt,
            seconds=seconds,
            seed=seed,
            **adapters.choose(
                session, actor=actor, model_id=model, adapter_id=adapter, strength=strength
            )._asdict(),
        )
    inference.host.submit(ticket)
    made = _follow(ticket, quiet=as_json).heard[0].sound_path
    assert made is not None
    try:
        with output.open("xb") as file:
            file.write(made.read_bytes())
    except FileExistsError as error:
        raise Conflict(_IS_THERE.format(output)) from error
    except OSError as error:
        raise InvalidInput(f"{output} can't be written ({error.strerror}).") from error
    finally:
        made.unlink(missing_ok=True)
    tell(str(output), {"path": str(output)}, as_json=as_json)


def _wish(model: str, adapter: str, strength: float) -> dict[str, Any]:
    return {"model_id": model, "adapter_id": adapter or None, "strength": strength}


def _tell(said: Transcription | Classification | Diarization, lines: list[str], as_json: bool) -> None:
    if as_json:
        print_json(said)
        return
    for line in lines:
        print_line(line)


def _hear(
    file: Path, user: str, task: Task, put: Callable[..., Result], wish: dict[str, Any], *, quiet: bool
) -> Result:
    actor = find_actor(user)
    if not file.is_file():
        raise InvalidInput(f"There is no file {file}.", fields={"file": "There is no such file."})
    clip = trial_clips.decode(file.resolve(), actor=actor)
    try:
        with db.read() as session:
            wish = inference.with_chosen(session, actor=actor, fields=wish)
            ticket = inference.prepare(session, actor=actor, clip=clip, task=task, **wish)
        inference.host.submit(ticket)
        answer = _follow(ticket, quiet=quiet)
    finally:
        clip.path.unlink(missing_ok=True)
    said = put(answer, ticket, **wish, duration_s=clip.duration_s)
    if said.note:
        say(said.note)
    return said


def _follow(ticket: Ticket, *, quiet: bool) -> EngineAnswer:
    """Tell what is being done until the answer is there."""
    with Bar(quiet=quiet) as bar:
        while not ticket.ended.wait(_LOOK_EVERY_S):
            bar.show(f"{ticket.label} …")
    return ticket.result(0)
