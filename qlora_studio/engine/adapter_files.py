"""What an adapter's folder says about itself."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qlora_studio.engine.refusals import Refused

WEIGHTS = "adapter_model.safetensors"
UNREADABLE = "The adapter's files can't be read any more. Train it again, or choose another."


@dataclass(frozen=True)
class BaseNeeds:
    """The precision of the frozen base that an adapter was trained on: 4 bits unless it says otherwise."""

    bits: int = 4
    double_quant: bool = True
    whole_encoder: bool = False


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter on disk. `stamp` changes with its weights; `inference` is what its task has written down."""

    path: Path
    stamp: int
    needs: BaseNeeds = field(default_factory=BaseNeeds)
    inference: dict[str, Any] = field(default_factory=dict)


def read(path: Path) -> AdapterFiles:
    """Read an adapter's JSON files; its weights are only looked for.

    Raises:
        Refused: it isn't there, isn't a LoRA, or can't be read.
    """
    try:
        stamp = (path / WEIGHTS).stat().st_mtime_ns
        config = json.loads((path / "adapter_config.json").read_text())
        about_path = path / "qlora_studio.json"
        about = json.loads(about_path.read_text()) if about_path.is_file() else {}
        if str(config["peft_type"]) != "LORA":
            raise Refused("Only LoRA adapters can be used; this one is of another kind.")
        return AdapterFiles(path, stamp, _needs(about), dict(about.get("inference", {})))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(UNREADABLE) from error


def _needs(about: dict[str, Any]) -> BaseNeeds:
    quantization = about.get("quantization")
    if quantization:
        double = bool(quantization.get("bnb_4bit_use_double_quant", True))
        return BaseNeeds(4, double, bool(quantization.get("whole_encoder", False)))
    if not about:
        return BaseNeeds()
    return BaseNeeds(int(about.get("bits", 32)))
