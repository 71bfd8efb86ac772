"""The model card of the starter sound model."""

from pathlib import Path

_ROWS = {
    "kind": "kind of sound",
    "octave": "low, middle, high",
    "note": "note",
    "dark_bright": "dark or bright",
    "short_long": "short or long",
}


def write_card(
    path: Path,
    found: dict[str, dict[str, float]],
    *,
    millions: float,
    n_sounds: int,
    minutes: float,
    steps: int,
    n_measured: int,
    guidance: float,
    temperature: float,
) -> None:
    """Write the card with the figures of a build.

    Args:
        path: The `README.md` to write.
        found: From `measure`.
        millions: Parameters of the model.
        n_sounds: Trained on.
        minutes: Of training.
        steps: Likewise.
        n_measured: Prompts behind the figures.
        guidance: With which they were made.
        temperature: Likewise.
    """
    ways = ("formula", "codec", "model", "shuffled")
    rows = [
        f"| {title} | " + " | ".join(f"{100 * found[way][name]:.0f} %" for way in ways) + " |"
        for name, title in _ROWS.items()
    ]
    card = (
        Path(__file__)
        .with_name("card.md")
        .read_text(encoding="utf-8")
        .format(
            millions=millions,
            n_sounds=n_sounds,
            minutes=minutes,
            steps=steps,
            table="\n".join(rows),
            n_measured=n_measured,
            guidance=guidance,
            temperature=temperature,
        )
    )
    path.write_text(card, encoding="utf-8")
