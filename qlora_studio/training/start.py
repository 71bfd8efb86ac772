"""Starting from weights: an adapter that an earlier job made, trained on.

Rank, alpha and layers are the adapter's own, whatever the spec says; everything else is the spec's. What the
result is compared with stays the plain base: its metrics and its certificate tell of the whole way.
"""

import json
from pathlib import Path
from typing import Any

from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.storage import atomic
from qlora_studio.storage.layout import START_FILES
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.tasks.base import AudioTask

CONFIG, WEIGHTS, ABOUT = START_FILES
_UNFIT = "The adapter that this job starts from does not fit: {why}. Choose another, or start without one."


def adopt(spec: WorkerSpec) -> tuple[WorkerSpec, str]:
    """Return the spec with the adapter's own rank and alpha, and a sentence about what was changed by that.

    Raises:
        ModelNotUsable: the adapter cannot be read.
    """
    if spec.start_path is None:
        return spec, ""
    config = _read(spec.start_path / CONFIG)
    try:
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelNotUsable(_UNFIT.format(why="its configuration names no rank")) from error
    wanted = spec.train.qlora
    own = wanted.model_copy(update={"rank": rank, "alpha": int(alpha) if alpha.is_integer() else alpha})
    train = spec.train.model_copy(update={"qlora": own})
    is_other = (wanted.rank, wanted.alpha) != (own.rank, own.alpha)
    sentence = f"Rank {rank}, alpha {alpha:g} and the layers are those of the adapter that it starts from."
    return spec.model_copy(update={"train": train}), sentence if is_other else ""


def refuse_other_targets(start_path: Path, task: AudioTask) -> None:
    """Make sure that the adapter's head stands for what this job learns.

    Raises:
        ModelNotUsable: it was trained for other classes, or another number of speakers.
    """
    learnt = _read(start_path / ABOUT).get("inference", {}) if (start_path / ABOUT).is_file() else {}
    wanted = task.metadata()
    if "classes" in wanted and learnt.get("classes", wanted["classes"]) != wanted["classes"]:
        raise ModelNotUsable(_UNFIT.format(why="it tells other classes apart than the dataset has"))
    if learnt.get("n_speakers", wanted.get("n_speakers")) != wanted.get("n_speakers"):
        raise ModelNotUsable(_UNFIT.format(why="it was trained for another number of speakers"))


def config_of(start_path: Path, *, dropout: float) -> Any:
    """Return the adapter's `LoraConfig`, to be trained on with another dropout."""
    from peft import LoraConfig

    config = LoraConfig.from_pretrained(str(start_path))
    config.inference_mode = False
    config.base_model_name_or_path = None  # the library warns where it is not the folder that was loaded
    config.lora_dropout = dropout
    return config


def load_weights(model: Any, start_path: Path) -> None:
    """Put the adapter's weights into a model that has its layers.

    Raises:
        ModelNotUsable: they are of other layers or sizes.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    try:
        found = set_peft_model_state_dict(model, load_file(start_path / WEIGHTS))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ModelNotUsable(_UNFIT.format(why="its weights have other sizes than this model")) from error
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if found.unexpected_keys or trained & set(found.missing_keys):
        raise ModelNotUsable(_UNFIT.format(why="it has other layers than this model"))


def lineage(spec: WorkerSpec) -> dict[str, Any]:
    """What the result says of where it started; empty for a job that started from the plain base."""
    if spec.start_path is None:
        return {}
    weights_sha256 = atomic.sha256_file(spec.start_path / WEIGHTS)
    return {"started_from": {"adapter_id": spec.train.start_adapter_id, "sha256": weights_sha256}}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelNotUsable(_UNFIT.format(why=f"its {path.name} cannot be read")) from error
    return found if isinstance(found, dict) else {}
