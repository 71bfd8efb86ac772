"""What is left of a run at the end: the adapter or the model."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.storage.atomic import replace_folder
from qlora_studio.storage.layout import HELD_OUT
from qlora_studio.training.attempt import Attempt
from qlora_studio.training.failures import DiskFull, is_disk_full
from qlora_studio.training.models import bits_of
from qlora_studio.training.tasks.base import AudioTask

_MB = 1024 * 1024


def raise_disk_full(error: Exception, attempt: Attempt, *, needed: int) -> None:
    """Turn "no space left" into a sentence with numbers; other errors pass.

    Args:
        needed: bytes the save takes.
    """
    if not is_disk_full(error):
        return
    free = shutil.disk_usage(attempt.spec.run_path).free
    message = (
        f"The disk is full: saving needs about {max(1, needed // _MB)} MB and {free // _MB} MB are free. "
        "Make space and resume; the last good checkpoint is kept."
    )
    attempt.warn("disk_full", message)
    raise DiskFull(message) from error


def save_adapter(
    model: Any, task: AudioTask, spec: WorkerSpec, target: Path, *, facts: dict[str, Any]
) -> None:
    """Write the adapter in PEFT's format with a model card and `qlora_studio.json`.

    Args:
        facts: JSON values for `qlora_studio.json` and the card: metrics, base metrics, step, data.
    """

    def fill(folder: Path) -> None:
        # False: looking for changed embeddings would ask the Hub for the base model's config.
        model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
        _sort_targets(folder / "adapter_config.json")
        task.save_beside(folder)
        quantisation = _quantisation(model)
        about = {
            "v": 1,
            "inference": task.metadata(),
            "bits": bits_of(spec),
            "quantization": quantisation
            and {**quantisation, "whole_encoder": spec.train.qlora.whole_encoder},
            **facts,
        }
        (folder / "qlora_studio.json").write_text(json.dumps(about, indent=2, allow_nan=False) + "\n")
        (folder / "README.md").write_text(model_card(model, task, spec, facts), encoding="utf-8")

    replace_folder(target, fill)


def save_whole_model(model: Any, task: AudioTask, target: Path, *, card: str) -> None:
    """Write a pre-trained model with its processor, for `from_pretrained` on the folder."""

    def fill(folder: Path) -> None:
        model.save_pretrained(folder, safe_serialization=True)
        task.processor.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")

    replace_folder(target, fill)


def save_held_out(run_path: Path, files: Mapping[str, str]) -> None:
    """Write what the result made of the held-out clips, if that takes files, into the run's `held-out/`."""
    if not files:
        return

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")

    replace_folder(run_path / HELD_OUT, fill)


def _sort_targets(path: Path) -> None:
    """PEFT stores its target names in the order of a set, which changes from run to run."""
    config = json.loads(path.read_text())
    for key in ("target_modules", "modules_to_save"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _quantisation(model: Any) -> dict[str, Any] | None:
    config = getattr(model.get_base_model().config, "quantization_config", None)
    if config is None:
        return None
    stored = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    keys = ("load_in_4bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype")
    return {key: stored.get(key) for key in (*keys, "llm_int8_skip_modules")}


def model_card(model: Any, task: AudioTask, spec: WorkerSpec, facts: dict[str, Any]) -> str:
    """Return the adapter's README: what it is, how well it does, how to load it."""
    base = model.peft_config["default"].base_model_name_or_path
    model_class = type(model.get_base_model()).__name__
    quantisation = _quantisation(model)
    skips = quantisation["llm_int8_skip_modules"] if quantisation else None
    loading = (
        "from transformers import BitsAndBytesConfig\n"
        "quantized = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4',\n"
        f"    bnb_4bit_use_double_quant={spec.train.qlora.double_quant}, llm_int8_skip_modules={skips!r})\n"
        if quantisation
        else "quantized = None\n"
    )
    rows = "\n".join(
        f"| {key} | {_cell(facts['base_metrics'].get(key))} | {_cell(value)} |"
        for key, value in facts["metrics"].items()
    )
    return f"""---
base_model: {json.dumps(base)}
library_name: peft
tags: [lora, qlora-studio, {task.card_tag}]
---
# {spec.train.name}

LoRA adapter for `{base}`, trained by QLoRA Studio: {facts["step"]} steps on {facts["n_train"]} clips
({facts["train_hours"]:.2f} h), rank {spec.train.qlora.rank}, {spec.train.qlora.bits}-bit base.

| held-out ({facts["n_validation"]} clips) | base | with adapter |
|---|---|---|
{rows}

{task.card_note}

```python
import torch
from peft import PeftModel
from transformers import {model_class}
{loading}base = {model_class}.from_pretrained(
    "path/to/{base}", dtype=torch.float32, quantization_config=quantized{task.loading_arguments()}
)
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```
"""


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
