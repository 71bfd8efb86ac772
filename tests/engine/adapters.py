"""Adapters with random weights, saved as a run saves them: no training, the same files."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import families, models, saving
from qlora_studio.training.tasks.base import AudioTask

FACTS = {"step": 1, "n_train": 1, "n_validation": 0, "train_hours": 0.0, "metrics": {}, "base_metrics": {}}


def make_adapter(spec: WorkerSpec, target: Path, *, seed: int = 0) -> tuple[AudioTask, Any]:
    """Save an adapter that changes every output; returns its task and the model with it."""
    config = families.read_config(spec.model_path)
    family = families.family_of(config, spec.task)
    models.seed_everything(seed)
    task = models.make_task(spec, family, config)
    base = models.load_base(spec, family, "cpu")
    task.prepare(base, task.read_clips(spec.clips_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the library deprecates a name that it uses itself
        model = models.make_trainable(base, spec, family).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ("lora_B" in name or "modules_to_save" in name):
            parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    saving.save_adapter(model, task, spec, target, facts=FACTS)
    return task, model


def write_samples(path: Path, samples: np.ndarray) -> Path:
    samples.astype("<f4").tofile(path)
    return path


def change_about(adapter_path: Path, **values: Any) -> None:
    """Change what an adapter says of itself."""
    path = adapter_path / "qlora_studio.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
