"""What a sound is called: its words in many orders, most of them optional."""

import numpy as np

from scripts.starter_sound.sounds import BRIGHT, DARK, LONG, SHORT, Sound

_NAMES = {
    "kick drum": ("kick drum", "kick", "bass drum"),
    "snare drum": ("snare drum", "snare"),
    "hi-hat": ("hi-hat", "hihat", "cymbal"),
    "plucked string": ("plucked string", "guitar", "string"),
    "bell": ("bell", "chime"),
    "wooden bar": ("wooden bar", "marimba", "xylophone"),
    "organ": ("organ", "held tone", "tone"),
    "noise": ("noise", "hiss", "wind"),
}
_REGISTERS = {"low": ("low", "deep"), "middle": ("middle", "medium"), "high": ("high",)}
_LENGTHS = {SHORT: ("short", "brief"), LONG: ("long",)}
_COLOURS = {DARK: ("dark", "dull", "warm"), BRIGHT: ("bright", "shiny", "clear")}
_FRAMES = ("{}", "a {}", "{}", "the sound of a {}", "one {}", "a single {}")
_UNKNOWN = ("nice", "sound", "of", "with", "please", "my", "old", "loud", "soft", "and")


def words() -> list[str]:
    """Every word that a prompt can hold, in the order of the alphabet."""
    texts = [name for names in (*_NAMES.values(), *_REGISTERS.values(), *_LENGTHS.values()) for name in names]
    texts += [name for names in _COLOURS.values() for name in names]
    texts += [*_FRAMES, *_UNKNOWN, "note c d e f g a b sharp in"]
    return sorted({word for text in texts for word in text.replace("{}", " ").replace(",", " ").split()})


def describe(sound: Sound, rng: np.random.Generator, *, exact: bool = False) -> str:
    """A prompt for a sound.

    Args:
        sound: What is to be heard.
        rng: Draws synonyms, order, and which words are left out.
        exact: Leave nothing out, and use the plainest words.
    """
    if exact:
        parts = [sound.length, sound.colour, sound.register, sound.kind]
        return " ".join(part for part in parts if part) + (f", note {sound.note}" if sound.note else "")
    before = [str(rng.choice(_LENGTHS[sound.length]))] if sound.length else []
    before += [str(rng.choice(_COLOURS[sound.colour]))] if sound.colour else []
    before += [str(rng.choice(_REGISTERS[sound.register]))] if rng.random() < 0.9 else []
    before += [str(rng.choice(_UNKNOWN))] if rng.random() < 0.1 else []
    before = [str(word) for word in rng.permutation(before)]
    name = str(rng.choice(_NAMES[sound.kind]))
    text = " ".join([*before, name])
    if rng.random() < 0.15 and before:  # "bell, bright and high"
        text = f"{name}, {' and '.join(before)}"
    text = str(rng.choice(_FRAMES)).format(text)
    if sound.note and rng.random() < 0.6:
        text += str(rng.choice((", note {}", " in {}", " {}"))).format(sound.note)
    return text
