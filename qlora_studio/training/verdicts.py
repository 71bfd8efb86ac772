"""From measurements to one word and one sentence. Torch-free."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from qlora_studio.contracts.certificate import Certificate, Comparison, OutputMoves, Pairing, WeightMoves
from qlora_studio.contracts.enums import Verdict
from qlora_studio.contracts.metrics import METRICS

_BROKEN_SHARE = 0.5  # of outputs empty or repeating
_COLLAPSED_ERROR, _COLLAPSED_BY = 0.8, 0.4
_EXPLODED = 3.0  # times the base model's loss, and as many nats above it
_RISE_THAT_COUNTS = 1.1  # of the loss, when the error says nothing
_MIN_PAIRS = 5  # fewer can never be more than chance
_DEAF = (
    "Clips fit each other's answers as well as their own: check that every answer belongs to its recording."
)


@dataclass(frozen=True)
class Findings:
    """What was measured; None or empty where it was not. `metric` is what the job is judged by."""

    weights: WeightMoves
    metric: str = ""
    values_before: Mapping[str, float | None] = field(default_factory=dict)
    values_after: Mapping[str, float | None] = field(default_factory=dict)
    outputs: OutputMoves | None = None
    has_collapsed: bool = False
    error: Comparison | None = None
    loss: Comparison | None = None
    pairing: Pairing | None = None
    is_loss_finite: bool = True
    needs_pairing: bool = True


def decide(found: Findings) -> Certificate:
    """Return the certificate: what is broken first, then what is not there, then better or worse."""
    verdict, sentence = _judge(found)
    return Certificate(
        verdict=verdict,
        sentence=sentence,
        weights=found.weights,
        outputs=found.outputs,
        metric=found.metric,
        error=found.error,
        loss=found.loss,
        pairing=found.pairing,
    )


def _judge(found: Findings) -> tuple[Verdict, str]:
    weights = found.weights
    if weights.n_not_finite:
        return Verdict.BROKEN, (
            f"{weights.n_not_finite} of {weights.n_layers} layers hold values that are no numbers. "
            "Lower the learning rate and train again."
        )
    if weights.n_layers == weights.n_unmoved:
        return Verdict.NO_EFFECT, "The weights have not moved. Raise the learning rate or train for longer."
    if found.outputs is None:
        return Verdict.UNMEASURED, "It was not compared with its base model on all held-out clips."
    if reason := _what_is_broken(found, found.outputs):
        return Verdict.BROKEN, f"{reason} Lower the learning rate and train again."
    return _compare(found)


def _what_is_broken(found: Findings, outputs: OutputMoves) -> str:
    """A sentence, or nothing."""
    if not found.is_loss_finite:
        return "The loss on held-out clips is not a number."
    broken = outputs.broken or 0.0
    if broken >= _BROKEN_SHARE and broken - (outputs.base_broken or 0.0) >= _BROKEN_SHARE / 2:
        return f"{broken:.0%} of the outputs are empty or repeat themselves without end."
    error, loss = found.error, found.loss
    if error and error.is_worse and found.has_collapsed:
        return "It gives the same output for every clip."
    if error and error.is_worse and error.after >= _COLLAPSED_ERROR and error.difference >= _COLLAPSED_BY:
        return f"It has lost what the base model could: {_change(found)}."
    if loss and _has_exploded(loss) and not (error and error.is_better):
        return f"The held-out loss has gone from {loss.before:.2f} to {loss.after:.2f}."
    return ""


def _has_exploded(loss: Comparison) -> bool:
    """So large a rise on most clips is no chance, also where there are too few clips to rule it out."""
    is_large = loss.after > _EXPLODED * loss.before and loss.difference > _EXPLODED
    return is_large and (loss.is_worse or loss.n_worse > loss.n_better)


def _compare(found: Findings) -> tuple[Verdict, str]:
    error, loss, pairing = found.error, found.loss, found.pairing
    is_deaf = (
        found.needs_pairing and pairing is not None and pairing.n_pairs >= _MIN_PAIRS and not pairing.is_heard
    )
    by_error, by_loss = bool(error and error.is_better), bool(loss and loss.is_better)
    if error and error.is_worse:
        sentence = f"{_change(found)}, and that is more than chance{_counts(error)}."
        return Verdict.WORSE, f"{sentence} {_DEAF}" if is_deaf else sentence
    if (by_error or by_loss) and is_deaf:
        return Verdict.NO_EFFECT, f"It has learnt what answers look like, not what is heard. {_DEAF}"
    if by_error and error:
        return Verdict.IMPROVED, f"{_change(found)}, and that is more than chance{_counts(error)}."
    if by_loss and loss:
        return Verdict.IMPROVED, (
            f"The held-out loss is lower than chance explains ({loss.before:.2f} to {loss.after:.2f})"
            + (f"; {_change(found)} may be chance." if error else ".")
        )
    if loss and loss.is_worse and loss.after > _RISE_THAT_COUNTS * loss.before:
        sentence = f"The held-out loss has risen from {loss.before:.2f} to {loss.after:.2f}."
        return Verdict.WORSE, f"{sentence} {_DEAF}" if is_deaf else sentence
    n_clips = found.outputs.n_clips if found.outputs else 0
    return Verdict.NO_EFFECT, (f"What differs on {n_clips} held-out clips may be chance: {_change(found)}.")


def _change(found: Findings) -> str:
    """`Word error rate 38.2 % to 5.7 %`, or the loss where nothing else was measured."""
    for key in (found.metric, *METRICS):
        before, after = found.values_before.get(key), found.values_after.get(key)
        if key in METRICS and before is not None and after is not None:
            metric = METRICS[key]
            return f"{metric.name[:1].upper()}{metric.name[1:]} {metric.text(before)} to {metric.text(after)}"
    before, after = found.values_before.get("loss"), found.values_after.get("loss")
    return f"Held-out loss {METRICS['eval_loss'].text(before)} to {METRICS['eval_loss'].text(after)}"


def _counts(comparison: Comparison) -> str:
    return f" (better on {comparison.n_better} clips, worse on {comparison.n_worse})"
