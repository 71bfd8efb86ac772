"""From a model folder and a spec to something the trainer can train."""

import random
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from qlora_studio.contracts.enums import Task, TrainingType
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import families, half, lora, quantize
from qlora_studio.training.failures import ModelNotUsable
from qlora_studio.training.families import Family
from qlora_studio.training.tasks import waves
from qlora_studio.training.tasks.base import AudioTask


def make_task(spec: WorkerSpec, family: Family, config: dict[str, Any]) -> AudioTask:
    """Return the task for a family."""
    if spec.task is Task.AUDIO_CLASSIFICATION:
        from qlora_studio.training.tasks.classification import ClassificationTask

        return ClassificationTask(spec.model_path, config, is_windowed=family.is_windowed)
    if family.kind == "speecht5":
        from qlora_studio.training.tasks.speecht5 import SpeechT5Task

        return SpeechT5Task(spec.model_path, config)
    if family.kind == "musicgen":
        from qlora_studio.training.tasks.musicgen import MusicgenTask

        return MusicgenTask(spec.model_path, config)
    if family.kind == "diarizer":
        from qlora_studio.training.tasks.diarization import DiarizationTask

        return DiarizationTask(spec.model_path, config)
    if family.kind == "whisper":
        from qlora_studio.training.tasks.whisper import WhisperTask

        return WhisperTask(spec.model_path, config)
    if family.kind == "moonshine":
        from qlora_studio.training.tasks.moonshine import MoonshineTask

        return MoonshineTask(spec.model_path, config)
    from qlora_studio.training.tasks.ctc import CtcTask

    return CtcTask(spec.model_path, config)


def choose_device(wanted: str) -> str:
    """Return "cuda" or "cpu".

    Raises:
        ModelNotUsable: a GPU was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelNotUsable("This machine has no CUDA device. Choose device auto or cpu.")
    return "cpu" if wanted == "cpu" or not torch.cuda.is_available() else "cuda"


def refuse_several_devices(spec: WorkerSpec) -> None:
    """Raise `ModelNotUsable` for a job that only one device can do."""
    if spec.train.training_type is TrainingType.PREFERENCE:
        raise ModelNotUsable("Preference tuning runs on one device. Set devices to 1.")
    if spec.train.optimization.scheduler == "range_test":
        raise ModelNotUsable("A learning rate test runs on one device. Set devices to 1.")


def refuse_batch_norms(model: Any, spec: WorkerSpec) -> None:
    """Raise `ModelNotUsable` where each device would learn statistics of its own clips alone."""
    is_learnt = spec.train.training_type is TrainingType.PRETRAINING  # under an adapter they are frozen
    if is_learnt and any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        raise ModelNotUsable(
            "This model has batch norms, which pre-training can learn on one device only. Set devices to 1."
        )


def seed_everything(seed: int) -> None:
    """Set every random state a run draws from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def load_base(spec: WorkerSpec, family: Family, device: str) -> Any:
    """Load the base model in the precision the job asks for.

    A folder without weights gives random ones from the job's seed (pre-training only).

    Raises:
        ModelNotUsable: the folder does not hold a model of its family.
    """
    import transformers

    model_class = getattr(transformers, family.model_class)
    is_pretraining = spec.train.training_type is TrainingType.PRETRAINING
    try:
        config = transformers.AutoConfig.from_pretrained(spec.model_path, local_files_only=True)
        if not families.has_weights(spec.model_path):
            if not is_pretraining:
                raise ModelNotUsable("The model's folder has no safetensors weights.")
            return model_class(config)
        quantised = None
        if not is_pretraining:
            quantised = quantize.quantization_config(
                spec.train.qlora, family, device, bits=bits_of(spec), model_class=model_class, config=config
            )
        model, info = model_class.from_pretrained(
            spec.model_path,
            output_loading_info=True,
            ignore_mismatched_sizes=family.takes_other_heads,
            dtype=torch.float32,  # half types beside 4-bit layers break: convolutions refuse float features
            quantization_config=quantised,
            device_map={"": device} if quantised is not None else None,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
        _refuse_mismatch(info["mismatched_keys"], family.heads)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if "out of memory" in str(error).lower():
            raise
        raise ModelNotUsable("The model cannot be loaded; the log says why. Check its folder.") from error
    quantize.keep_weights_unpacked(model)
    if bits_of(spec) == 16:
        half.keep_in_half(model, lora.adaptable_layers(model, family))
    return model


def _refuse_mismatch(mismatched: Iterable[tuple[str, Any, Any]], heads: tuple[str, ...]) -> None:
    """Only a head may have another size in the file than in the model: it was for something else.

    Raises:
        ValueError: something else has.
    """
    wrong = sorted(name for name, *_ in mismatched if name.split(".")[0] not in heads)
    if wrong:
        raise ValueError(f"weights of another size than the config says: {', '.join(wrong[:5])}")


def bits_of(spec: WorkerSpec) -> int:
    """How the frozen base is stored: 4, 16 or 32 bits. "lora" never means 4; pre-training freezes nothing.

    In 16 bits are its linear layers only; norms, convolutions and heads stay in float32.
    """
    train = spec.train
    if train.training_type is TrainingType.PRETRAINING:
        return 32
    return 32 if train.training_type is TrainingType.LORA and train.qlora.bits == 4 else train.qlora.bits


def make_trainable(model: Any, spec: WorkerSpec, family: Family) -> Any:
    """Put an adapter on the model, or leave all of it trainable for pre-training."""
    if spec.train.training_type is TrainingType.PRETRAINING:
        return model
    settings = spec.train.qlora.model_copy(update={"bits": bits_of(spec)})
    adapted = lora.add_adapter(
        model, settings, family, model_name=base_name(spec), start_path=spec.start_path
    )
    waves.leave_ear_alone(adapted)
    return adapted


def base_name(spec: WorkerSpec) -> str:
    """What an adapter calls its base: the Hub id or name the config remembers, else the model's id.

    Never the folder it was loaded from, which means nothing on another machine.
    """
    name = families.read_config(spec.model_path).get("_name_or_path")
    looks_like_id = isinstance(name, str) and name and not name.startswith(("/", ".", "~"))
    return str(name) if looks_like_id else spec.train.model_id


def quieten_libraries() -> None:
    """Keep progress bars and advice on optional packages out of the job's log."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft")
