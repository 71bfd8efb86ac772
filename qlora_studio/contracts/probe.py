"""The sanity probe: what is known before the first step about whether a job can learn at all.

It is an event of its own, part of `result.json` (`extra`) and of the job's report. Figures that could not be
had are None. Losses are in nats.
"""

from typing import Literal

from pydantic import BaseModel


class OverfitTry(BaseModel):
    """One batch, learnt by heart on a copy of the weights: its loss before and at its lowest.

    `is_clear` is None where there was no time for enough steps.
    """

    before: float
    after: float
    steps: int
    learning_rate: float
    is_clear: bool | None


class GradientReach(BaseModel):
    """How many trained layers a loss reaches. `missed` names some of those that it does not."""

    n_layers: int
    n_missed: int
    missed: list[str] = []

    @property
    def n_reached(self) -> int:
        return self.n_layers - self.n_missed


class Slip(BaseModel):
    """Mean loss of clips with their own answers, with those of the clips before them, and after them."""

    n_clips: int
    own: float
    previous: float
    following: float
    verdict: Literal["", "previous", "following"] = ""  # whose answers fit better than the own ones


class ProbeReport(BaseModel):
    """The outcome, what there is to say about it, and the figures.

    Attributes:
        status: `passed`; `doubtful`, which a person should look at; or `failed`, which ends the job.
        findings: one sentence for each thing that is wrong, with what to do next.
        first_loss: mean loss of a real batch before any step.
        expected: what it should be where the model knows nothing yet (new head, random weights).
        chance: what a trained model stays below: the loss of finding everything equally likely.
        misread: an answer whose labels read back as something else, where most do.
        base_loss: mean loss of the base model on held-out clips.
        train_loss: its median loss on training clips of all lengths, one by one.
    """

    status: Literal["passed", "doubtful", "failed"] = "passed"
    findings: list[str] = []
    first_loss: float | None = None
    expected: float | None = None
    chance: float | None = None
    base_loss: float | None = None
    train_loss: float | None = None
    misread: str = ""
    gradient: GradientReach | None = None
    overfit: OverfitTry | None = None
    slip: Slip | None = None
    seconds: float = 0.0

    @property
    def sentence(self) -> str:
        """What was found, in one line."""
        return " ".join(self.findings) or self._figures()

    def _figures(self) -> str:
        parts = []
        if self.first_loss is not None:
            expected = f" (expected {self.expected:.2f})" if self.expected else ""
            parts.append(f"first loss {self.first_loss:.2f}{expected}")
        if self.train_loss is not None and self.base_loss is not None:
            parts.append(
                f"training clips fit as held-out ones (loss {self.train_loss:.2f} and {self.base_loss:.2f})"
            )
        if self.overfit is not None:
            parts.append(
                f"one batch goes from {self.overfit.before:.2f} to {self.overfit.after:.2f} "
                f"in {self.overfit.steps} step{'' if self.overfit.steps == 1 else 's'}"
            )
        if self.gradient is not None:
            parts.append(f"gradients reach all {self.gradient.n_layers} trained layers")
        text = "; ".join(parts)
        return f"{text[:1].upper()}{text[1:]}."
