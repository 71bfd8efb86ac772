"""Looking at a job before it runs, without torch: quick enough to do on every launch."""

from typing import Any

from qlora_studio.contracts.enums import Task, TrainingType
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import families
from qlora_studio.training.clips import (
    ClipSets,
    read_clips,
    read_diarized_clips,
    read_labelled_clips,
    read_prompted_clips,
)
from qlora_studio.training.failures import ModelNotUsable, TrainingFailure
from qlora_studio.training.pairs import read_pairs
from qlora_studio.training.run_state import check_metric

LONGEST_CLIP_S = {"whisper": 30.0, "moonshine": 30.0, "ctc": 40.0}


def validate(spec: WorkerSpec) -> dict[str, Any]:
    """Return `{"ok", "errors", "warnings", …}` for a spec: sentences for people, counts for forecasts."""
    report: dict[str, Any] = {"ok": False, "errors": [], "warnings": []}
    try:
        config = families.read_config(spec.model_path)
        family = families.family_of(config, spec.task)
        report["family"] = config["model_type"]
        if spec.train.training_type is not TrainingType.PRETRAINING and not families.has_weights(
            spec.model_path
        ):
            report["errors"].append("The model's folder has no safetensors weights.")
        check_type(spec)
        check_metric(spec.train.evaluation, spec.task, spec.train.training_type)
        clips = _read(spec, family)
        report |= {"n_train": len(clips.train), "n_validation": len(clips.validation)}
        report["warnings"] += [f"{count} clips are left out: {why}." for why, count in clips.dropped.items()]
        if not clips.validation:
            report["warnings"].append("There is no validation clip, so quality is not measured.")
    except TrainingFailure as error:
        report["errors"].append(str(error))
    report["ok"] = not report["errors"]
    return report


def check_type(spec: WorkerSpec) -> None:
    """Make sure that there is such a way of training for the task.

    Raises:
        ModelNotUsable: there is none; the sentence says what to do.
    """
    training_type = spec.train.training_type
    if training_type is TrainingType.PREFERENCE and spec.task is not Task.TEXT_TO_AUDIO:
        name = spec.task.value.replace("-", " ")
        raise ModelNotUsable(f"Preference tuning is for text-to-audio models; this is {name}.")
    is_compared = training_type in (TrainingType.QLORA, TrainingType.LORA)
    if spec.train.optimization.scheduler == "range_test" and not is_compared:
        raise ModelNotUsable("A learning rate test is for QLoRA and LoRA. Choose another scheduler.")


def _read(spec: WorkerSpec, family: families.Family) -> ClipSets:
    if spec.train.training_type is TrainingType.PREFERENCE:
        return read_pairs(spec.clips_path).clips()
    if spec.task is Task.SPEAKER_DIARIZATION:
        return read_diarized_clips(spec.clips_path)
    if spec.task is Task.AUDIO_CLASSIFICATION:
        return read_labelled_clips(spec.clips_path)
    if spec.task is Task.TEXT_TO_AUDIO:
        return read_prompted_clips(spec.clips_path)
    return read_clips(spec.clips_path, max_s=LONGEST_CLIP_S[family.kind])
