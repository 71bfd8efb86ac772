"""What a job takes over from the adapter that it starts from: rank, alpha and layers, whatever was given."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlmodel import Session

from qlora_studio.contracts.spec import QLoraSpec, TrainSpec
from qlora_studio.db.models import Adapter, BaseAudioModel
from qlora_studio.storage.layout import START_FILES

AXES = frozenset({"qlora.rank", "qlora.alpha", "qlora.target_modules"})
_CONFIG, _WEIGHTS, _ = START_FILES


@dataclass(frozen=True)
class OwnValues:
    """Rank, alpha and the full names of an adapter's layers; these are empty where it doesn't list them."""

    rank: int
    alpha: float
    layers: list[str]


def read_own(folder: Path) -> OwnValues | None:
    """Read them from an adapter on disk, None where it is not whole."""
    try:
        config = json.loads((folder / _CONFIG).read_bytes())
        if not (folder / _WEIGHTS).is_file():
            return None
        layers = config.get("target_modules")
        return OwnValues(
            rank=int(config["r"]),
            alpha=float(config.get("lora_alpha", config["r"])),
            layers=[str(name) for name in layers] if isinstance(layers, list) else [],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def with_own_values(session: Session, spec: TrainSpec) -> TrainSpec:
    """Put the start adapter's own rank, alpha and layers into a spec. `validate` has checked who asks."""
    adapter = session.get(Adapter, spec.start_adapter_id) if spec.start_adapter_id else None
    own = read_own(Path(adapter.path)) if adapter is not None else None
    if own is None:
        return spec  # refused by `validate`, where there should be one
    values: dict[str, Any] = {"rank": own.rank, "alpha": own.alpha}
    if own.layers:
        model = session.get_one(BaseAudioModel, spec.model_id)
        values["target_modules"] = _choice_of(own.layers, model, given=spec.qlora.target_modules)
    try:
        qlora = QLoraSpec.model_validate(spec.qlora.model_dump() | values)
    except ValidationError:  # made elsewhere, with a rank that nobody can ask for here
        return spec
    return spec.model_copy(update={"qlora": qlora})


def _choice_of(layers: Sequence[str], model: BaseAudioModel, *, given: str | list[str]) -> str | list[str]:
    """Layers in a spec's words: a preset or last parts of names where these mean the same, else in full."""
    card = model.details.get("layers") or {}
    presets: dict[str, list[str]] = card.get("presets") or {}
    kinds = sorted({name.rpartition(".")[2] for name in layers})
    n_layers = sum(kind["n_layers"] for kind in card.get("linear") or [] if kind["name"] in kinds)
    same = [name for name, wanted in presets.items() if sorted(wanted) == kinds]
    if len(layers) == n_layers:
        fitting = [name for name in same if name != "decoder"]
        return given if given in fitting else fitting[0] if fitting else kinds
    # A decoder's layer attends twice, an encoder's once.
    is_decoder = all("decoder" in name.split(".") for name in layers) and 3 * len(layers) == 2 * n_layers
    return "decoder" if is_decoder and "decoder" in same else sorted(layers)
