"""Everything a run needs to go on exactly where it was, as safetensors and JSON: no pickles.

model.safetensors      the tensors that training changes
optimizer.safetensors  the optimiser's tensors, named by parameter number and key
random.safetensors     random states of torch, numpy and CUDA
trainer_state.json     the trainer's own step count and history
"""

import copy
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
RANDOM = "random.safetensors"


class Copied(NamedTuple):
    """One file of a checkpoint: tensors of its own, and the JSON part that goes into the manifest."""

    tensors: dict[str, torch.Tensor]
    plain: dict[str, Any]


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def write(copied: Copied, path: Path) -> None:
    """Write a file's tensors."""
    save_file(copied.tensors, path)


def trained_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return what training changes: parameters with gradients; buffers too where all of it is trained."""
    tensors = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    if all(p.requires_grad for p in model.parameters()):
        persistent = set(model.state_dict())
        tensors.update({name: b for name, b in model.named_buffers() if name in persistent})
    return tensors


def copy_model(model: torch.nn.Module) -> Copied:
    """Copy the trained tensors; tied ones once each by name."""
    return Copied({name: _copy(tensor) for name, tensor in trained_tensors(model).items()}, {})


def load_model(model: torch.nn.Module, folder: Path) -> None:
    """Put trained tensors back in place.

    Raises:
        ValueError: the checkpoint belongs to a differently shaped run.
    """
    stored = load_file(folder / MODEL)
    own = trained_tensors(model)
    if stored.keys() != own.keys():
        raise ValueError("the checkpoint holds other tensors than this run trains")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])


def copy_optimizer(optimizer: torch.optim.Optimizer) -> Copied:
    """Copy the optimiser's tensors; the JSON part has its groups and plain values."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for number, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{number}/{key}"] = _copy(value)
            else:
                plain.setdefault(str(number), {})[key] = value
    return Copied(tensors, {"groups": copy.deepcopy(state["param_groups"]), "plain": plain})


def load_optimizer(optimizer: torch.optim.Optimizer, folder: Path, stored: dict[str, Any]) -> None:
    """Put the optimiser's state back. `stored` is the JSON part of `copy_optimizer`."""
    state: dict[int, dict[str, Any]] = {int(n): dict(values) for n, values in stored["plain"].items()}
    for name, tensor in load_file(folder / OPTIMIZER).items():
        number, key = name.split("/", 1)
        state.setdefault(int(number), {})[key] = tensor
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in stored["groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def copy_random() -> Copied:
    """Copy the random states of torch, numpy, Python and CUDA."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64))}
    if torch.cuda.is_available():
        tensors |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    version, values, next_gauss = random.getstate()
    plain = {"python": [version, list(values), next_gauss], "numpy": [name, position, has_gauss, gauss]}
    return Copied(tensors, plain)


def load_random(folder: Path, stored: dict[str, Any]) -> None:
    """Put the random states back. `stored` is the JSON part of `copy_random`."""
    tensors = load_file(folder / RANDOM)
    version, values, next_gauss = stored["python"]
    random.setstate((version, tuple(values), next_gauss))
    name, position, has_gauss, gauss = stored["numpy"]
    np.random.set_state((name, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([tensors[key] for key in sorted(tensors) if key.startswith("cuda")])
