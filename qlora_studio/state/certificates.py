"""The effect certificate of an adapter as the pages show it."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from qlora_studio.contracts.certificate import Certificate, Comparison, WeightMoves
from qlora_studio.contracts.metrics import METRICS
from qlora_studio.state import formats

_HUGE = 10.0  # times the base model's own output; further than that nobody reads


@dataclass(frozen=True)
class FigureRow:
    """One thing that was measured, and what came out."""

    name: str
    value: str


@dataclass(frozen=True)
class LayerRow:
    """One adapted layer; `share` is its bar's width in percent of the layer that moved most."""

    name: str
    change: str
    share: float


@dataclass(frozen=True)
class CertificateView:
    """A whole certificate; `verdict` is empty where there is none."""

    verdict: str = ""
    sentence: str = ""
    figures: list[FigureRow] = field(default_factory=list)
    layers: list[LayerRow] = field(default_factory=list)


def parse(stored: dict[str, Any]) -> Certificate | None:
    """Return a stored certificate, or None where there is none or it is from another version."""
    try:
        return Certificate.model_validate(stored) if stored else None
    except ValidationError:
        return None


def certificate_view(stored: dict[str, Any]) -> CertificateView:
    """Return a stored certificate as its page shows it."""
    found = parse(stored)
    if found is None:
        return CertificateView()
    return CertificateView(
        found.verdict.value, formats.kept_together(found.sentence), _figures(found), _layers(found.weights)
    )


def _figures(found: Certificate) -> list[FigureRow]:
    weights, outputs, pairing = found.weights, found.outputs, found.pairing
    moved = f"{weights.n_layers - weights.n_unmoved} of {weights.n_layers}"
    rows = [
        FigureRow("Layers that moved", moved),
        FigureRow(
            "Change of a layer, median and largest", f"{_share(weights.median)}, {_share(weights.largest)}"
        ),
    ]
    if outputs is not None:
        rows += [
            FigureRow("Outputs that differ from the base model's", formats.percent(outputs.changed, 0)),
            FigureRow("Change of the last layer's values", _share(outputs.change)),
            FigureRow("Outputs empty or repeating", formats.percent(outputs.broken, 0)),
        ]
    if found.error is not None:
        rows += _comparison("Error per clip", found.error, metric=found.metric)
    if found.loss is not None:
        rows += _comparison("Loss per clip", found.loss)
    if pairing is not None:
        rose = f"{formats.number(pairing.before, 2)} → {formats.number(pairing.after, 2)}"
        rows.append(
            FigureRow(f"Loss added when two clips swap answers ({pairing.n_pairs} pairs)", rose),
        )
    return rows


def _comparison(name: str, found: Comparison, metric: str = "") -> list[FigureRow]:
    is_share = metric in METRICS and METRICS[metric].is_share
    show = formats.percent if is_share else formats.number
    low, high = (f"{value * 100:+.1f}" if is_share else f"{value:+.3g}" for value in (found.low, found.high))
    unit = " points" if is_share else ""
    counts = f"{found.n_better} better, {found.n_worse} worse, {found.n_same} the same"
    return [
        FigureRow(name, f"{show(found.before)} → {show(found.after)}"),
        FigureRow("… difference, 95 % interval", f"{low} to {high}{unit}"),
        FigureRow("… clips", counts),
        FigureRow("… by chance alone", f"p {_p(found.p)}"),
    ]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _share(value: float | None) -> str:
    if value is None:
        return "not a number"
    return f"more than {_HUGE * 100:,.0f}\u00a0%" if value > _HUGE else formats.percent(value, 1)


def _layers(weights: WeightMoves) -> list[LayerRow]:
    largest = weights.largest or 1.0
    return [
        LayerRow(layer.name, _share(layer.change), round(100 * min(1.0, (layer.change or 0.0) / largest), 1))
        for layer in weights.layers
    ]
