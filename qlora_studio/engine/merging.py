"""Merging an adapter into its base: `python -m qlora_studio.engine.merging REQUEST.json`.

An adapter corrects what 4 bits made of its base, so it is merged into the **dequantised** base: into the
original weights it would be off by as much as quantisation took away. The result is loaded again in plain
transformers and compared with base and adapter on held-out clips, and refused if it says something else.

Prints JSON lines, `contracts.merging.MergeLine`. Ends when its standard input does: with its server.
"""

import gc
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from pydantic import TypeAdapter

from qlora_studio.audio.resample import load_mono
from qlora_studio.contracts.enums import Split, TrainingType
from qlora_studio.contracts.merging import REPORT, MergeLine, MergeReport, MergeRequest
from qlora_studio.contracts.spec import ClipItem, PairItem, QLoraSpec, TrainSpec, WorkerSpec
from qlora_studio.engine import adapter_files, memory
from qlora_studio.engine.adapter_files import AdapterFiles
from qlora_studio.engine.refusals import Refused, sentence
from qlora_studio.storage import atomic
from qlora_studio.training import families, models, pairs
from qlora_studio.training.clips import ClipSets
from qlora_studio.training.failures import is_disk_full
from qlora_studio.training.tasks.base import AudioTask, Batch

N_CLIPS = 8
_TOLERANCES = {16: 2e-2, 32: 1e-3}
_DTYPES = {16: torch.float16, 32: torch.float32}
_SYNTHETIC_S = 1.5
_LINE: TypeAdapter[ClipItem | PairItem] = TypeAdapter(ClipItem | PairItem)


def main() -> int:
    """Do what the request file says; 0 when there is a merged model."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    memory.bound()
    request = MergeRequest.model_validate_json(Path(sys.argv[1]).read_text())
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        _say(MergeLine(report=merge(request)))
    except Exception as error:
        traceback.print_exc()
        _say(MergeLine(refused=_why(error)))
        return 1
    return 0


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(75)


def _say(line: MergeLine) -> None:
    print(line.model_dump_json(exclude_defaults=True), flush=True)


def _why(error: Exception) -> str:
    if is_disk_full(error):
        return "The disk is full. Free some space and merge again; nothing was changed."
    found = sentence(error)
    return found.replace("The model could not answer.", "Merging failed unexpectedly.")


def merge(request: MergeRequest) -> MergeReport:
    """Merge, compare, and put the merged folder in place.

    Raises:
        Refused: the adapter does not fit, the memory is short, or the merged model says something else.
        ModelNotUsable: the base cannot be loaded.
    """
    memory.refuse_what_does_not_fit(request.model_path)
    adapter = adapter_files.read(request.adapter_path)
    _say(MergeLine(progress="Hearing base and adapter"))
    task, model = _adapted(request, adapter, is_dequantised=False)
    clips = _clips(request)
    batches = [_batch(task, clip) for clip in clips] or _synthetic(task)
    expected = _outputs(model, batches)
    del model
    gc.collect()
    _say(MergeLine(progress="Merging the weights"))
    task, model = _adapted(request, adapter, is_dequantised=True)
    merged = model.merge_and_unload()
    reports: list[MergeReport] = []

    def fill(folder: Path) -> None:
        _write(merged, task, folder, request)
        _say(MergeLine(progress="Comparing what it says"))
        again = type(merged).from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
        report = compare(expected, _outputs(again, batches), bits=request.bits, is_synthetic=not clips)
        report.size_bytes = sum(path.stat().st_size for path in folder.iterdir())
        atomic.write_text(folder / REPORT, report.model_dump_json(indent=2) + "\n")
        reports.append(report)

    atomic.replace_folder(request.target_path, fill)
    return reports[0]


def compare(
    expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor], *, bits: int, is_synthetic: bool
) -> MergeReport:
    """Return how far two sets of outputs are apart.

    Raises:
        Refused: further than rounding to so many bits explains.
    """
    wanted = torch.cat([t.flatten() for t in expected])
    difference = (torch.cat([t.flatten() for t in found]) - wanted).abs()
    report = MergeReport(
        bits=bits,
        n_clips=len(expected),
        is_synthetic=is_synthetic,
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        relative=float(difference.norm() / wanted.norm().clamp_min(1e-12)),
        tolerance=_TOLERANCES[bits],
    )
    if not report.relative <= report.tolerance:
        raise Refused(
            "The merged model does not say the same as base and adapter (difference "
            f"{report.relative:.1e} of their size, {report.tolerance:g} is allowed), so it was not kept. "
            "Use the adapter as it is" + (", or merge into 32 bits." if bits == 16 else ".")
        )
    return report


def _adapted(request: MergeRequest, adapter: AdapterFiles, *, is_dequantised: bool) -> tuple[AudioTask, Any]:
    """(task, base with the adapter on it), the base as it was trained on or unpacked from 4 bits."""
    from peft import PeftModel

    spec = _as_spec(request, adapter)
    config = families.read_config(request.model_path)
    family = families.family_of(config, request.task)
    task = models.make_task(spec, family, config)
    base = models.load_base(spec, family, "cpu").eval()
    if task.makes_sound:
        task.prepare(base, ClipSets(_clips(request), [], {}))
    task.adopt(base, {**adapter.inference, "adapter_path": str(adapter.path)})
    if is_dequantised and adapter.needs.bits == 4:
        base = base.dequantize()
    elif is_dequantised:
        base = base.float()
    try:
        model = PeftModel.from_pretrained(base, str(adapter.path), local_files_only=True)
    except (ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
        raise Refused("This adapter does not fit its base model, so it can't be merged.") from error
    return task, model.eval()


def _as_spec(request: MergeRequest, adapter: AdapterFiles) -> WorkerSpec:
    """The job that would load the same base."""
    is_packed = adapter.needs.bits == 4
    nowhere = Path("/nonexistent")
    return WorkerSpec(
        job_id="",
        task=request.task,
        train=TrainSpec(
            name="-",
            dataset_id="-",
            model_id="-",
            training_type=TrainingType.QLORA if is_packed else TrainingType.LORA,
            qlora=QLoraSpec(
                bits=4 if is_packed else 32,
                double_quant=adapter.needs.double_quant,
                whole_encoder=adapter.needs.whole_encoder,
            ),
        ),
        model_path=request.model_path,
        clips_path=nowhere,
        run_path=nowhere,
        attempt_path=nowhere,
    )


def _write(merged: Any, task: AudioTask, folder: Path, request: MergeRequest) -> None:
    merged.config.name_or_path = ""
    merged.to(_DTYPES[request.bits]).save_pretrained(folder, safe_serialization=True)
    task.processor.save_pretrained(folder)
    task.save_beside(folder)
    (folder / "README.md").write_text(_card(type(merged).__name__, request), encoding="utf-8")


def _card(model_class: str, request: MergeRequest) -> str:
    title = " ".join(request.name.split()) or "Merged model"
    return f"""---
tags: [qlora-studio]
---
# {title}

An adapter merged into its base model in {request.bits} bits by QLoRA Studio. It was merged into the base
as it comes back from 4 bits, which is what the adapter was trained on; `{REPORT}` holds the comparison.

```python
from transformers import {model_class}
model = {model_class}.from_pretrained("path/to/this/folder", dtype="float32")
```
"""


# What they are compared on


def _clips(request: MergeRequest) -> list[ClipItem]:
    """A few held-out clips of the run, as far as they are still on the disk; of pairs, the chosen sounds."""
    if request.clips_path is None or not request.clips_path.is_file():
        return []
    lines = request.clips_path.read_text(encoding="utf-8").splitlines()
    items = [_LINE.validate_json(line) for line in lines if line.strip()]
    clips = [pairs.chosen_clip(item) if isinstance(item, PairItem) else item for item in items]
    held_out = [c for c in clips if c.split is Split.VALIDATION and Path(c.path).is_file()]
    return sorted(held_out, key=lambda clip: (clip.duration_s, clip.id))[:N_CLIPS]


def _batch(task: AudioTask, clip: ClipItem) -> Batch:
    return _batch_of(task, load_mono(Path(clip.path), sample_rate=task.sampling_rate), task.target(clip))


def _batch_of(task: AudioTask, samples: np.ndarray, target: str) -> Batch:
    has_classes = bool(getattr(task, "classes", None))  # which one does not change what is heard
    return task.collate([task.features(samples)], [[0] if has_classes else task.encode(target)])


def _synthetic(task: AudioTask) -> list[Batch]:
    """Noise that rises and falls: no speech, yet every layer has something to do."""
    rng = np.random.default_rng(0)
    n_samples = int(_SYNTHETIC_S * task.sampling_rate)
    shape = np.hanning(n_samples)
    sounds = (0.1 * rng.standard_normal(n_samples) * shape for _ in range(N_CLIPS // 2))
    return [_batch_of(task, sound.astype(np.float32), "a test of what is heard") for sound in sounds]


def _outputs(model: Any, batches: Sequence[Batch]) -> list[torch.Tensor]:
    found = []
    for batch in batches:
        torch.manual_seed(0)  # SpeechT5 drops out at all times
        with torch.no_grad():
            output = model(**batch)
        signal = getattr(output, "logits", None)
        found.append((output.spectrogram if signal is None else signal).float())
    return found


if __name__ == "__main__":
    sys.exit(main())
