"""What a checkpoint is made of, as it was at one step."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from qlora_studio.training import state_files
from qlora_studio.training.state_files import Copied
from qlora_studio.training.trainer import StudioSteps

TRAINER_STATE = "trainer_state.json"


class Snapshot:
    """Everything a trainer needs to go on from this step.

    Small things are copied at once. Tensors are copied by `copy()`, and then training may go on while the
    files are written; without it each is copied as its file is written, which takes memory for one at a time.
    """

    def __init__(self, trainer: StudioSteps) -> None:
        model, optimizer, scheduler = trainer.model, trainer.optimizer, trainer.lr_scheduler
        assert model is not None, "a trainer has a model"
        assert optimizer is not None, "and an optimiser once it trains"
        assert scheduler is not None
        self._files: dict[str, Callable[[], Copied]] = {
            state_files.MODEL: lambda: state_files.copy_model(model),
            state_files.OPTIMIZER: lambda: state_files.copy_optimizer(optimizer),
        }
        random_states = state_files.copy_random()
        self._files[state_files.RANDOM] = lambda: random_states
        state = {**vars(trainer.state), "stateful_callbacks": {}, "log_history": []}
        self._trainer_state = json.dumps(state, default=float)
        self._scheduler = json.dumps({k: v for k, v in scheduler.state_dict().items() if _is_json(v)})
        self.n_bytes = _trained_bytes(model) + _optimizer_bytes(optimizer)

    def copy(self) -> None:
        """Copy the tensors as they are now."""
        for name, make in self._files.items():
            copied = make()
            self._files[name] = lambda copied=copied: copied

    def fill(self, folder: Path) -> dict[str, Any]:
        """Write the files into `folder`; returns the JSON part."""
        plain: dict[str, dict[str, Any]] = {}
        for name, make in self._files.items():
            copied = make()
            state_files.write(copied, folder / name)
            plain[name] = copied.plain
        (folder / TRAINER_STATE).write_text(self._trainer_state)
        return {
            "optimizer": plain[state_files.OPTIMIZER],
            "random": plain[state_files.RANDOM],
            "scheduler": json.loads(self._scheduler),
        }


def _trained_bytes(model: torch.nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in state_files.trained_tensors(model).values())


def _optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    values = (value for entries in optimizer.state.values() for value in entries.values())
    return sum(v.numel() * v.element_size() for v in values if isinstance(v, torch.Tensor))


def _is_json(value: Any) -> bool:
    return isinstance(value, int | float | str | bool | type(None)) or (
        isinstance(value, list) and all(_is_json(item) for item in value)
    )
