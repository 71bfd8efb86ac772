"""One base model in memory, with the adapters that were used on it last."""

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from safetensors import SafetensorError

from qlora_studio.contracts.enums import Task, TrainingType
from qlora_studio.contracts.spec import QLoraSpec, TrainSpec, WorkerSpec
from qlora_studio.engine.adapter_files import UNREADABLE, WEIGHTS, AdapterFiles, BaseNeeds
from qlora_studio.engine.refusals import Refused
from qlora_studio.engine.unpacking import unpack_if_it_fits
from qlora_studio.training import families, models
from qlora_studio.training.tasks.base import AudioTask

KEPT_ADAPTERS = 4


@dataclass(frozen=True)
class BaseKey:
    """What makes two loaded bases the same one."""

    task: Task
    model_path: Path
    model_hash: str
    device: str
    needs: BaseNeeds


class WarmModel:
    """A base model as training loads it. `using` puts an adapter on it, or takes it off, in place.

    Raises:
        ModelNotUsable: the folder does not hold a model of its family.
    """

    def __init__(self, key: BaseKey) -> None:
        self.key = key
        spec = _as_spec(key)
        config = families.read_config(key.model_path)
        family = families.family_of(config, key.task)
        self.task: AudioTask = models.make_task(spec, family, config)
        self._base: Any = models.load_base(spec, family, key.device).eval()
        self._base.requires_grad_(False)
        if key.device == "cpu":
            unpack_if_it_fits(self._base)
        self._adapted: PeftModel | None = None
        self._names: OrderedDict[tuple[Path, int], str] = OrderedDict()  # least recently used first
        self._n_loaded = 0

    @contextlib.contextmanager
    def using(self, adapter: AdapterFiles | None, strength: float) -> Iterator[Any]:
        """Give the model with an adapter, at a strength, or as it is.

        The strength scales what LoRA adds, and moves a trained head from the base's towards the adapter's. A
        head for other classes than the base's has nothing to start from: it counts in full.

        Raises:
            Refused: the adapter does not fit this model.
        """
        metadata = {} if adapter is None else {**adapter.inference, "adapter_path": str(adapter.path)}
        if self.task.wants_other_head(metadata):
            self._take_all_off()
        self.task.adopt(self._base, metadata)
        if adapter is None:
            with self._without_adapters():
                yield self._base
            return
        name = self._put_on(adapter)
        assert self._adapted is not None
        self._adapted.set_adapter(name)
        with _scaled(self._adapted, name, strength):
            yield self._adapted

    def _without_adapters(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if self._adapted is None else self._adapted.disable_adapter()

    def _put_on(self, adapter: AdapterFiles) -> str:
        """Return the adapter's name on the model, after loading its weights unless they are there."""
        identity = (adapter.path, adapter.stamp)
        if identity in self._names:
            self._names.move_to_end(identity)
            return self._names[identity]
        while len(self._names) >= KEPT_ADAPTERS:
            assert self._adapted is not None
            self._adapted.delete_adapter(self._names.popitem(last=False)[1])
        self._n_loaded += 1
        name = f"adapter{self._n_loaded}"
        try:
            self._load(adapter, name)
            self._check_numbers(name)
        except Refused:
            self._take_all_off()
            raise
        except SafetensorError as error:
            self._take_all_off()
            raise Refused(UNREADABLE) from error
        except (ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
            self._take_all_off()  # half an adapter is none
            raise Refused(
                "This adapter does not fit this model. Choose the model it was trained on."
            ) from error
        self._names[identity] = name
        return name

    def _load(self, adapter: AdapterFiles, name: str) -> None:
        config = PeftConfig.from_pretrained(str(adapter.path), local_files_only=True)
        config.inference_mode = True
        if not (adapter.path / WEIGHTS).is_file():
            raise OSError("no safetensors weights")  # the library would look for pickled ones
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a second adapter comes beside the first is meant
            if self._adapted is None:
                self._adapted = PeftModel(self._base, config, adapter_name=name)
            found = self._adapted.load_adapter(
                str(adapter.path), adapter_name=name, torch_device=self.key.device, local_files_only=True
            )
        if any(f".{name}." in key for key in found.missing_keys) or found.unexpected_keys:
            raise ValueError("weights and model do not match")
        self._adapted.eval()

    def _check_numbers(self, name: str) -> None:
        assert self._adapted is not None
        weights = [p for key, p in self._adapted.named_parameters() if f".{name}." in key]
        if not all(torch.isfinite(weight).all() for weight in weights):
            raise Refused(
                "The weights of this adapter are no numbers: its training went wrong. Choose another."
            )

    def _take_all_off(self) -> None:
        if self._adapted is None:
            return
        wrapped = self._adapted.get_base_model().named_modules()
        heads = {name: m.original_module for name, m in wrapped if isinstance(m, ModulesToSaveWrapper)}
        self._base = self._adapted.unload()
        for name, head in heads.items():  # the library leaves the adapter's in their place
            self._base.set_submodule(name, head)
        self._adapted = None
        self._names.clear()


def _as_spec(key: BaseKey) -> WorkerSpec:
    """The job that would load the same base: what it trains and where it writes has no part in that."""
    training_type = TrainingType.QLORA if key.needs.bits == 4 else TrainingType.LORA
    qlora = QLoraSpec.model_validate(asdict(key.needs))
    nowhere = Path("/nonexistent")
    return WorkerSpec(
        job_id="",
        task=key.task,
        train=TrainSpec(name="-", dataset_id="-", model_id="-", training_type=training_type, qlora=qlora),
        model_path=key.model_path,
        clips_path=nowhere,
        run_path=nowhere,
        attempt_path=nowhere,
    )


@contextlib.contextmanager
def _scaled(model: Any, name: str, strength: float) -> Iterator[None]:
    """Let an adapter count as much as `strength` says, and in full again afterwards."""
    if strength == 1.0:
        yield
        return
    heads = [m for m in model.modules() if isinstance(m, ModulesToSaveWrapper) and name in m.modules_to_save]
    trained = [[p.detach().clone() for p in head.modules_to_save[name].parameters()] for head in heads]
    try:
        _set_scale(model, name, strength)
        for head, weights in zip(heads, trained, strict=True):
            _mix(head.original_module, weights, head.modules_to_save[name], strength)
        yield
    finally:
        _set_scale(model, name, 1.0)
        for head, weights in zip(heads, trained, strict=True):
            for parameter, weight in zip(head.modules_to_save[name].parameters(), weights, strict=True):
                parameter.data.copy_(weight)


def _set_scale(model: Any, name: str, strength: float) -> None:
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.set_scale(name, strength)


def _mix(base: Any, trained: list[Any], target: Any, strength: float) -> None:
    """Set a head's weights to base + strength * (trained - base)."""
    pairs = zip(base.parameters(), trained, target.parameters(), strict=True)
    for start, end, parameter in pairs:
        parameter.data.copy_(start.data + strength * (end - start.data))
