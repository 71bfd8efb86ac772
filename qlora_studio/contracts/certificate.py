"""The effect certificate: what an adapter does to its base model, measured when a job ends.

It is part of `result.json` (`extra`), of the adapter's `qlora_studio.json`, of its row in the database and of
the API's answer. Figures that could not be measured are None.
"""

from pydantic import BaseModel

from qlora_studio.contracts.enums import Verdict


class LayerMove(BaseModel):
    """How far one layer moved: the norm of the change over the norm of the base layer's weights."""

    name: str
    change: float | None  # None: not a number


class WeightMoves(BaseModel):
    """How far all adapted layers moved. `layers` are those that moved most, the furthest first."""

    n_layers: int
    n_unmoved: int
    n_not_finite: int
    median: float | None
    largest: float | None
    layers: list[LayerMove] = []


class OutputMoves(BaseModel):
    """How far outputs moved from the base model's, on held-out clips. Shares are fractions of the clips.

    `change` is the mean relative change of the model's last layer: the norm of the difference over the norm
    of what the base model gave, each without its mean. `broken` and `base_broken` are shares of outputs that
    are empty although something is to be heard, or repeat themselves without end.
    """

    n_clips: int
    changed: float | None = None
    broken: float | None = None
    base_broken: float | None = None
    change: float | None = None


class Comparison(BaseModel):
    """One figure of every held-out clip before and after; lower is better.

    Attributes:
        n_better: clips on which the adapter is better; likewise `n_worse` and `n_same`.
        difference: mean of after minus before, with its 95 % interval `low` to `high` (bootstrap over clips).
        p: how often chance alone would give such a mean difference (two-sided sign-flip test over clips).
    """

    n_better: int
    n_worse: int
    n_same: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    p: float

    @property
    def is_better(self) -> bool:
        return self.difference < 0 and self.p < SIGNIFICANCE

    @property
    def is_worse(self) -> bool:
        return self.difference > 0 and self.p < SIGNIFICANCE


class Pairing(BaseModel):
    """Whether the model listens: what the loss gains when two clips swap their targets, in nats.

    About 0 means that what the model gives has nothing to do with what the clip's target says. `p` is how
    often chance alone would give such a mean over `n_pairs` pairs (one-sided sign-flip test).
    """

    n_pairs: int
    before: float
    after: float
    p: float

    @property
    def is_heard(self) -> bool:
        return self.after > 0 and self.p < SIGNIFICANCE


class Certificate(BaseModel):
    """The verdict, one sentence that explains it, and the figures it rests on. `metric` names `error`."""

    v: int = 1
    verdict: Verdict
    sentence: str
    weights: WeightMoves
    outputs: OutputMoves | None = None
    metric: str = ""
    error: Comparison | None = None
    loss: Comparison | None = None
    pairing: Pairing | None = None


SIGNIFICANCE = 0.05
