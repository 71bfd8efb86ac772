"""Running a whole attempt inside the test's process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import WorkerSpec
from qlora_studio.training import families, loop, models, quantize
from qlora_studio.training.attempt import Attempt, run_attempt
from tests.training import tiny


def run(spec: WorkerSpec, *, on_attempt: Callable[[Attempt], None] = lambda _: None) -> ResultFile:
    """Run an attempt as the worker does and return its result file."""
    tiny.write_spec(spec)

    def body(attempt: Attempt) -> ResultFile | None:
        on_attempt(attempt)
        return loop.TrainingRun(attempt, "cpu").run()

    run_attempt(spec, body, device="cpu", versions={})
    return ResultFile.model_validate_json((spec.attempt_path / "result.json").read_text())


def run_and_keep(spec: WorkerSpec) -> loop.TrainingRun:
    """Run an attempt and return the run itself, with its model as it ended."""
    tiny.write_spec(spec)
    kept: list[loop.TrainingRun] = []

    def body(attempt: Attempt) -> Any:
        kept.append(loop.TrainingRun(attempt, "cpu"))
        return kept[0].run()

    assert run_attempt(spec, body, device="cpu", versions={}) == 0
    return kept[0]


def prepared(spec: WorkerSpec) -> tuple[Any, Any]:
    """(task, base model as it is before the adapter)"""
    config = families.read_config(spec.model_path)
    family = families.family_of(config, spec.task)
    models.seed_everything(0)
    task = models.make_task(spec, family, config)
    base = models.load_base(spec, family, "cpu")
    task.prepare(base, task.read_clips(spec.clips_path))
    return task, base


def reload_in_plain_peft(spec: WorkerSpec, model_class: str, *, n_labels: int) -> Any:
    """The adapter of a run in plain peft, the way the model card says."""
    import torch
    import transformers
    from peft import PeftModel

    adapter_path = spec.run_path / "adapter"
    about = json.loads((adapter_path / "qlora_studio.json").read_text())
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=about["quantization"]["llm_int8_skip_modules"],
    )
    base = getattr(transformers, model_class).from_pretrained(
        spec.model_path,
        dtype=torch.float32,
        quantization_config=config,
        device_map={"": "cpu"},
        num_labels=n_labels,
        ignore_mismatched_sizes=True,
    )
    quantize.keep_weights_unpacked(base)
    return PeftModel.from_pretrained(base, adapter_path).eval()


def stop_at(step: int) -> Callable[[Attempt], None]:
    """Ask for a stop, through the file, when the metrics of `step` are out."""

    def install(attempt: Attempt) -> None:
        emit = attempt.events.metric

        def metric(at: int, values: Any) -> None:
            emit(at, values)
            if at == step:
                (attempt.spec.attempt_path / "stop.json").write_text(json.dumps({"mode": "save"}))

        attempt.events.metric = metric  # type: ignore[method-assign]

    return install


def stop_in(phase: str, mode: str = "save") -> Callable[[Attempt], None]:
    """Ask for a stop, through the file, when a phase has begun."""

    def install(attempt: Attempt) -> None:
        emit = attempt.events.emit

        def tell(type_: str, **fields: Any) -> None:
            emit(type_, **fields)
            if type_ == "phase" and fields["name"] == phase:
                (attempt.spec.attempt_path / "stop.json").write_text(json.dumps({"mode": mode}))

        attempt.events.emit = tell  # type: ignore[method-assign]

    return install


def losses(spec: WorkerSpec) -> list[float]:
    return [event["values"]["loss"] for event in tiny.read_events(spec, "metric")]


def adapter_bytes(spec: WorkerSpec) -> bytes:
    return (spec.run_path / "adapter" / "adapter_model.safetensors").read_bytes()


def adapter_tensors(spec: WorkerSpec) -> dict[str, Any]:
    return load_file(spec.run_path / "adapter" / "adapter_model.safetensors")


def poison_loss(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Make the loss of one step not a number."""
    from qlora_studio.training.trainer import StudioTrainer

    real = StudioTrainer.compute_loss

    def compute_loss(self: StudioTrainer, *args: Any, **kwargs: Any) -> Any:
        loss = real(self, *args, **kwargs)
        return loss * float("nan") if self.state.global_step + 1 == at else loss

    monkeypatch.setattr(StudioTrainer, "compute_loss", compute_loss)


def list_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
