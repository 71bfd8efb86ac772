"""What a job will take, before it is launched: memory, time and disk against what is free.

Plain arithmetic on what the model's check found (layers by size) and on the lengths of the clips. Memory is
calibrated on measured runs and meant to be right within a third; time is an estimate of the right order. Once
the same model has been trained like this on this machine, both rest on what that run took.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

from sqlalchemy.orm import object_session
from sqlmodel import Session

from qlora_studio.contracts.enums import Task, TrainingType
from qlora_studio.contracts.spec import TrainSpec
from qlora_studio.db.models import BaseAudioModel, Dataset
from qlora_studio.modelfiles.layers import count_encoder, count_packed
from qlora_studio.services.forecast_clips import guess_clip_stats, read_clip_stats
from qlora_studio.services.forecast_machine import Machine, look_at_machine
from qlora_studio.services.forecast_past import Past, read_past
from qlora_studio.services.forecast_schemas import (
    ClipStats,
    DiskForecast,
    Forecast,
    MemoryForecast,
    TimeForecast,
)

# NF4: half a byte a weight, one scale for 64 weights (in 8 bits, and again one in 32 bits for 256 of those).
_NF4_BYTES = 0.5 + 4 / 64
_NF4_DOUBLE_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
_RUNTIME_BYTES = {"cpu": 560 * 2**20, "cuda": 900 * 2**20}
_SOUND_RUNTIME_BYTES = {"cpu": 220 * 2**20, "cuda": 0}  # codec, and what measures sounds
# Floats kept for the backward pass, for each frame, layer and unit of width; Whisper tiny and base showed 34.
_KEPT_FLOATS = {
    "whisper": 34,
    "wav2vec2": 34,
    "hubert": 34,
    "wav2vec2-conformer": 52,
    "wav2vec2-bert": 52,
    "musicgen": 58,  # its decoder looks at the prompt, too
}
_KEPT_WITH_CHECKPOINTING = 0.3
# With the encoder run once a clip, only the decoder's look at its frames is kept for the backward pass.
_KEPT_FLOATS_DECODER_ONLY = 10
_DECODER_SHARE = 2 / 3  # of Whisper's query and value layers: its decoder has two attentions a layer
_CACHE_BYTES = 2**30  # of encoder outputs held in memory at most
# Sustained floating-point operations a second: of one CPU core in float32, and of a small CUDA card.
_CORE_FLOPS = 50e9
_CUDA_FLOPS = 6e12
_STEP_OVERHEAD_S = 0.06
_START_S = 15.0
_EARLIER = "an earlier job like this"
_EVENNESS = 0.9  # devices wait for the one with the longest share
_EXCHANGE_BYTES_S = 5e9  # between cards, through PCI Express
_TOKENS_PER_S = 4.0  # of speech, for the decoder
_WHISPER_WINDOW_S = 30.0
_LONGEST_S, _LONGEST_SOUND_S = 40.0, 30.0
_EVALUATIONS = 6
_INTERIM_CLIPS = 200
# Of windows in fast mode, as the worker has them:
_STANDARD_SHARE, _SHORT_WINDOW_MARGIN_S, _STANDARD_ROWS = 0.15, 1.25, 2
_WRITERS = ("whisper", "moonshine")  # pretrained to write: few epochs do
_FEW_EPOCHS, _EPOCHS = 3.0, 10.0  # where neither epochs nor steps are set, as the worker has them
_KEPT_CHECKPOINTS = 3


@dataclass(frozen=True)
class _Work:
    """The shape of one training step."""

    frames: float  # of the longest clip, into the transformer
    mean_frames: float  # of a clip that is trained on
    look_frames: float  # of a clip that is measured
    tokens: float  # of the mean clip, out of the decoder; 0 without one
    batch_size: int  # on each device
    reuses_encoder: bool = False
    n_windows: int | None = None  # so many go through at a time, of a fixed length; None where clips do


def forecast_job(
    *,
    spec: TrainSpec,
    model: BaseAudioModel,
    dataset: Dataset,
    clips: ClipStats | None = None,
    machine: Machine | None = None,
) -> Forecast:
    """Forecast a job.

    Args:
        clips: lengths of the clips; read from the dataset's rows when it belongs to an open session.
        machine: what to run on; this machine by default.
    """
    session = object_session(dataset)
    clips = clips or (
        read_clip_stats(session, dataset) if isinstance(session, Session) else guess_clip_stats(dataset)
    )
    machine = machine or look_at_machine(spec.optimization.devices)
    n_trainable = count_trainable(spec, model)
    work = _shape(spec, model, clips)
    past = Past()
    if isinstance(session, Session):
        past = read_past(session, spec=spec, model=model, dataset=dataset, device=machine.device)
    memory = _memory(
        spec=spec,
        model=model,
        work=work,
        n_trainable=n_trainable,
        machine=machine,
        past_peak_bytes=past.peak_bytes,
    )
    steps = count_steps(spec, model, clips.n_train)
    time = _time(
        spec=spec,
        model=model,
        clips=clips,
        work=work,
        steps=steps,
        machine=machine,
        n_trainable=n_trainable,
        past_samples_per_s=past.samples_per_s,
    )
    disk = _disk(spec, model, clips, n_trainable, machine)
    return Forecast(
        device=machine.device,
        n_trainable=n_trainable,
        memory=memory,
        time=time,
        disk=disk,
        warnings=_warnings(_way_out(spec, work, machine) if not memory.fits else "", disk, clips, model),
    )


def count_trainable(spec: TrainSpec, model: BaseAudioModel) -> int:
    """Parameters that the optimiser moves: the adapter's, with a CTC head in full; or all of them."""
    if spec.training_type == TrainingType.PRETRAINING:
        return model.n_parameters
    layers = _layers(model)
    targets = spec.qlora.target_modules
    names = set(targets if isinstance(targets, list) else layers["presets"].get(targets, []))
    adapter = sum(
        spec.qlora.rank * (kind["n_in"] + kind["n_out"]) * _count_chosen(kind, names)
        for kind in layers["linear"]
    )
    if targets == "decoder":
        adapter *= _DECODER_SHARE
    keeps_head = _is_whisper(model) or model.task is Task.TEXT_TO_AUDIO
    head = 0 if keeps_head else _vocabulary(model) * (_width(model) + 1)
    return int(adapter + head)


def _count_chosen(kind: dict[str, Any], names: set[str]) -> int:
    """How many layers of a kind are adapted: all if it is named, else those that are named in full."""
    if kind["name"] in names:
        return int(kind["n_layers"])
    return sum(name.endswith(f".{kind['name']}") for name in names)


def reuses_encoder(spec: TrainSpec, model: BaseAudioModel) -> bool:
    """Whether the encoder is run once a clip: Whisper in fast mode with its decoder adapted alone."""
    is_plain = spec.training_type != TrainingType.PRETRAINING and spec.qlora.target_modules == "decoder"
    return is_plain and _is_whisper(model) and spec.optimization.mode == "fast"


def count_steps(spec: TrainSpec, model: BaseAudioModel, n_train: int) -> int:
    """Optimiser steps of the whole job, with the family's preset when neither epochs nor steps are set."""
    chosen = spec.optimization
    if chosen.max_steps is not None:
        return chosen.max_steps
    epochs = chosen.epochs or (_FEW_EPOCHS if _family(model) in _WRITERS else _EPOCHS)
    per_epoch = ceil(max(1, ceil(n_train / chosen.batch_size)) / chosen.gradient_accumulation)
    return max(1, ceil(epochs * per_epoch))


def _shape(spec: TrainSpec, model: BaseAudioModel, clips: ClipStats) -> _Work:
    rate = float(model.details.get("frames_per_s") or 50)
    n_clips = ceil(spec.optimization.batch_size / spec.optimization.devices)
    window_s = _WHISPER_WINDOW_S if _is_whisper(model) else model.details.get("window_s")
    if window_s:  # every clip costs the whole window, but for most training in fast mode
        frames = trained = rate * float(window_s)
        n_windows = n_clips
        if spec.optimization.mode == "fast":
            short = min(frames, rate * (clips.mean_s + _SHORT_WINDOW_MARGIN_S))
            trained = _STANDARD_SHARE * frames + (1 - _STANDARD_SHARE) * short
            n_windows = min(n_clips, _STANDARD_ROWS)
        tokens = max(8.0, clips.mean_s * _TOKENS_PER_S) if _is_whisper(model) else 0.0
        return _Work(frames, trained, frames, tokens, n_clips, reuses_encoder(spec, model), n_windows)
    longest = _LONGEST_SOUND_S if model.task is Task.TEXT_TO_AUDIO else _LONGEST_S
    frames, mean_frames = (rate * min(s, longest) for s in (clips.longest_s, clips.mean_s))
    n_sounds = 2 if spec.training_type == TrainingType.PREFERENCE else 1
    return _Work(frames, mean_frames, mean_frames, 0, n_sounds * n_clips)


def _memory(
    *,
    spec: TrainSpec,
    model: BaseAudioModel,
    work: _Work,
    n_trainable: int,
    machine: Machine,
    past_peak_bytes: int | None,
) -> MemoryForecast:
    adapter = 4 * n_trainable if spec.training_type != TrainingType.PRETRAINING else 0
    parts = {
        "weights_bytes": int(weight_bytes(spec, model)),
        "adapter_bytes": adapter,
        "optimizer_bytes": 12 * n_trainable,  # gradients and AdamW's two averages, 4 bytes each
        "activations_bytes": int(_activation_bytes(spec, model, work)),
        "runtime_bytes": _RUNTIME_BYTES[machine.device],
    }
    if model.task is Task.TEXT_TO_AUDIO:
        parts["runtime_bytes"] += _SOUND_RUNTIME_BYTES[machine.device]
    if past_peak_bytes:  # it is the sum that was measured: what the parts don't explain was kept by libraries
        parts["runtime_bytes"] += past_peak_bytes - sum(parts.values())
        parts["activations_bytes"] += min(0, parts["runtime_bytes"])
        parts = {name: max(0, size) for name, size in parts.items()}
    total = past_peak_bytes or sum(parts.values())
    n_devices = spec.optimization.devices
    wanted = total if machine.device == "cuda" else total * n_devices  # on a processor they share the RAM
    return MemoryForecast(
        **parts,
        n_devices=n_devices,
        total_bytes=total,
        free_bytes=machine.free_bytes,
        fits=machine.free_bytes is None or wanted <= machine.free_bytes,
        basis=_EARLIER if past_peak_bytes else "sizes of layers and clips",
    )


def weight_bytes(spec: TrainSpec, model: BaseAudioModel) -> float:
    """Bytes of the frozen base: packed layers in 4 bits and the rest in 32, or all in 16 or 32 bits."""
    has_choice = spec.training_type in (TrainingType.LORA, TrainingType.PREFERENCE)
    bits = spec.qlora.bits if has_choice else {TrainingType.QLORA: 4}.get(spec.training_type, 32)
    if bits != 4 or spec.training_type == TrainingType.LORA:
        is_half = bits == 16
        return model.n_parameters * (2 if is_half else 4)
    n_packed = count_packed(_layers(model))
    if spec.qlora.whole_encoder and _is_whisper(model):
        n_packed -= count_encoder(_layers(model))
    per_weight = _NF4_DOUBLE_BYTES if spec.qlora.double_quant else _NF4_BYTES
    return n_packed * per_weight + (model.n_parameters - n_packed) * 4


def _activation_bytes(spec: TrainSpec, model: BaseAudioModel, work: _Work) -> float:
    n_layers, width = int(model.details.get("n_hidden_layers") or 12), _width(model)
    if _is_whisper(model):  # half of the layers are the decoder's, which sees few tokens
        n_layers = ceil(n_layers / 2)
    floats = _KEPT_FLOATS_DECODER_ONLY if work.reuses_encoder else _KEPT_FLOATS.get(_family(model), 40)
    n_clips = work.batch_size if work.reuses_encoder else work.n_windows or work.batch_size
    kept = 4 * floats * width * n_layers * work.frames * n_clips
    if spec.optimization.gradient_checkpointing:
        kept *= _KEPT_WITH_CHECKPOINTING
    positions = 2 * work.tokens if work.tokens else work.frames
    logits = 3 * 4 * _vocabulary(model) * positions * work.batch_size
    return kept + logits + (_CACHE_BYTES if work.reuses_encoder else 0)


def _sample_flops(model: BaseAudioModel, work: _Work, frames: float) -> tuple[float, float]:
    """Floating-point operations of the forward pass over one clip of so many frames.

    Returns:
        Those of each step, and those of the frozen encoder's one look at the whole window.
    """
    n_layers, width = int(model.details.get("n_hidden_layers") or 12), _width(model)
    layers = _layers(model)
    n_linear = float(layers["n_linear_parameters"] - layers.get("n_frozen_parameters", 0))
    if _is_whisper(model):
        encoder_share = 0.43  # a decoder layer has a second attention
        n_layers = ceil(n_layers / 2)
        decoder = 2 * work.tokens * (n_linear * (1 - encoder_share) + _vocabulary(model) * width)
        crossing = n_layers * 4 * width * width * frames
        heard = work.frames if work.reuses_encoder else frames
        encoder = 2 * n_linear * encoder_share * heard + n_layers * 4 * heard**2 * width
        return (decoder + crossing, encoder) if work.reuses_encoder else (encoder + decoder + crossing, 0.0)
    convolutions = 0.25 * n_linear
    return 2 * (n_linear + convolutions) * frames + n_layers * 4 * frames**2 * width, 0.0


def _time(
    *,
    spec: TrainSpec,
    model: BaseAudioModel,
    clips: ClipStats,
    work: _Work,
    steps: int,
    machine: Machine,
    n_trainable: int,
    past_samples_per_s: float | None,
) -> TimeForecast:
    flops_per_s = _CUDA_FLOPS if machine.device == "cuda" else _CORE_FLOPS * machine.n_cores
    forward_s, once_s = (flops / flops_per_s for flops in _sample_flops(model, work, work.mean_frames))
    if spec.training_type == TrainingType.PREFERENCE:  # two sounds a pair, and the base model's look at both
        forward_s *= 2 * 4 / 3
    look_s = _sample_flops(model, work, work.look_frames)[0] / flops_per_s * (1.5 if work.tokens else 1.0)
    per_step = spec.optimization.batch_size * spec.optimization.gradient_accumulation
    slowdown = 1.3 if spec.optimization.gradient_checkpointing else 1.0
    sample_s = 3 * forward_s * slowdown / _speed_up(spec, machine)
    sample_s += (_STEP_OVERHEAD_S + _exchange_s(n_trainable, spec)) / spec.optimization.batch_size
    if past_samples_per_s:
        sample_s = 1 / past_samples_per_s
    n_looks = 2 if spec.evaluation.every_steps is None else max(2, steps // spec.evaluation.every_steps)
    looked_at = min(clips.n_validation, _INTERIM_CLIPS) * max(n_looks, _EVALUATIONS) + 2 * clips.n_validation
    n_clips = clips.n_train + clips.n_validation
    total = _START_S + n_clips * once_s + steps * per_step * sample_s + looked_at * look_s
    spread = 1.3 if past_samples_per_s else 2.5
    return TimeForecast(
        total_s=round(total, 1),
        low_s=round(total / spread, 1),
        high_s=round(total * spread, 1),
        total_steps=steps,
        samples_per_s=round(1 / sample_s, 2),
        basis=_EARLIER if past_samples_per_s else "a rough table for this family",
    )


def _speed_up(spec: TrainSpec, machine: Machine) -> float:
    """How much quicker the clips of a step are gone through on the job's devices than on one of them.

    They wait for the slowest, and an odd clip keeps all but one waiting. Processes on one processor share its
    cores and win nothing.
    """
    n_devices, n_clips = spec.optimization.devices, spec.optimization.batch_size
    if n_devices == 1 or machine.device != "cuda":
        return 1.0
    return max(1.0, _EVENNESS * n_clips / ceil(n_clips / n_devices))


def _exchange_s(n_trainable: int, spec: TrainSpec) -> float:
    """Time a step to sum the gradients of all devices, 4 bytes each, there and back."""
    return 2 * 4 * n_trainable / _EXCHANGE_BYTES_S if spec.optimization.devices > 1 else 0.0


def _disk(
    spec: TrainSpec, model: BaseAudioModel, clips: ClipStats, n_trainable: int, machine: Machine
) -> DiskForecast:
    checkpoint = 12 * n_trainable + 2**20
    result = 4 * model.n_parameters if spec.training_type == TrainingType.PRETRAINING else 4 * n_trainable
    features = (clips.n_train + clips.n_validation) * clips.mean_s * 100 * 160 * 4  # frames x mel bands
    total = int(_KEPT_CHECKPOINTS * checkpoint + result + features + 8 * 2**20)
    free = machine.free_disk_bytes
    return DiskForecast(total_bytes=total, free_bytes=free, fits=total + 100 * 2**20 <= free)


def _way_out(spec: TrainSpec, work: _Work, machine: Machine) -> str:
    """What to do about memory that is not there."""
    half = work.batch_size // 2
    is_smaller = work.n_windows is None or work.reuses_encoder or half < work.n_windows
    if half and is_smaller:
        return "Halve the batch size and double accumulation: the same result, half the activations."
    ways = [] if spec.optimization.gradient_checkpointing else ["turn on gradient checkpointing"]
    if machine.device == "cpu" and spec.optimization.devices > 1:
        ways.append("give fewer devices")
    advice = ", or ".join([*ways, "choose a smaller model"])
    why = " A smaller batch takes no less: few of its clips go through at a time as it is." if half else ""
    return f"{advice[0].upper()}{advice[1:]}.{why}"


def _warnings(way_out: str, disk: DiskForecast, clips: ClipStats, model: BaseAudioModel) -> list[str]:
    found = []
    if way_out:
        found.append(f"This may not fit into memory. {way_out}")
    if not disk.fits:
        found.append("The disk may be too full for the checkpoints. Free some space first.")
    if model.max_duration_s and clips.longest_s > model.max_duration_s:
        found.append(
            f"Clips longer than {model.max_duration_s:.0f} s are left out: this model hears no more at once. "
            f"The longest has {clips.longest_s:.0f} s."
        )
    return found


def _layers(model: BaseAudioModel) -> dict[str, Any]:
    return model.details.get("layers") or {
        "n_linear_parameters": int(0.7 * model.n_parameters),
        "linear": [],
        "presets": {},
    }


def _is_whisper(model: BaseAudioModel) -> bool:
    """Whether it is a Whisper that writes; one that tells sounds apart has no decoder."""
    return _family(model) == "whisper" and model.task is not Task.AUDIO_CLASSIFICATION


def _family(model: BaseAudioModel) -> str:
    return str(model.details.get("family", ""))


def _width(model: BaseAudioModel) -> int:
    return int(model.details.get("hidden_size") or 512)


def _vocabulary(model: BaseAudioModel) -> int:
    return int(model.details.get("vocab_size") or 32)
