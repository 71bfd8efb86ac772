"""Where the embedded examples are, and what the one-click cards say about them. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from qlora_studio.contracts.enums import Task

_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Example:
    """One embedded item.

    Attributes:
        slug: Stable name, to tell whether a user has added it already.
        name: Title of the card, and of the item that it makes.
        description: One or two sentences for the card.
        task: What it is for.
        licence: As an SPDX identifier; the full text lies in the folder.
        path: The folder, as a server folder (dataset) or a model folder.
    """

    slug: str
    name: str
    description: str
    task: Task
    licence: str
    path: Path


EXAMPLE_DATASET = Example(
    slug="prompts-en",
    name="English telephone prompts",
    description=(
        "496 short recordings of one speaker, 21 minutes of real speech with its words. "
        "96 clips are held out to measure the word error rate."
    ),
    task=Task.SPEECH_TO_TEXT,
    licence="CC-BY-SA-3.0",
    path=_FOLDER / "prompts-en",
)

STARTER_MODEL = Example(
    slug="starter-asr",
    name="Starter speech model",
    description=(
        "A small English speech-to-text model, trained on synthetic voices only. "
        "It learns real speech from the example dataset in about three minutes."
    ),
    task=Task.SPEECH_TO_TEXT,
    licence="Apache-2.0",
    path=_FOLDER / "starter-asr",
)


STARTER_SOUND = Example(
    slug="starter-sound",
    name="Starter sound model",
    description=(
        "A small text-to-audio model that makes drums, plucked and struck tones, held tones and noise. "
        "It was trained on synthesised sounds only, and is there to be rated and trained on."
    ),
    task=Task.TEXT_TO_AUDIO,
    licence="Apache-2.0",
    path=_FOLDER / "starter-sound",
)

SOUND_PROMPTS = (
    ("Bell", "a long bright bell, note a"),
    ("String", "a low dark plucked string, note d"),
    ("Marimba", "a short high marimba, note g"),
    ("Kick", "a deep kick drum"),
    ("Hi-hat", "a short bright hi-hat"),
    ("Organ", "a long middle organ, note c"),
    ("Wind", "long low dark wind"),
)
SOUND_SECONDS = 2.0  # what STARTER_SOUND makes is over by then

STARTERS = {"speech": STARTER_MODEL, "sound": STARTER_SOUND}


def example_dataset_path() -> Path:
    """Folder with `metadata.csv` (file_name, text, split) and `clips/*.flac`."""
    return EXAMPLE_DATASET.path


def starter_model_path(which: str = "speech") -> Path:
    """Folder that `transformers` loads with `from_pretrained`; `which` is a key of `STARTERS`."""
    return STARTERS[which].path
