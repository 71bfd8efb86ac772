"""A worker without torch that speaks the whole protocol in about a second, for tests of the supervision.

    python -m qlora_studio.training.toy SPEC

Environment:
    QLORA_STUDIO_TOY_STEPS   steps when the spec sets no `max_steps` (20)
    QLORA_STUDIO_TOY_STEP_S  seconds a step (0.03)
    QLORA_STUDIO_TOY_FAIL    nan, oom, crash, hang, ignore_term, bad_data or disk_full, at half of the steps;
                             `crash@7` names the step
"""

import errno
import json
import math
import os
import signal
import struct
import sys
import time
from pathlib import Path

from qlora_studio.contracts.enums import ExitReason, StopMode
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import ClipItem, WorkerSpec
from qlora_studio.storage import checkpoints
from qlora_studio.training.attempt import Attempt, read_spec, run_attempt
from qlora_studio.training.failures import BadData, NotANumber

_SAVE_EVERY = 5
_PANEL = 3


class ToyRun:
    """A curve that falls, with everything around it that a real run has."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        train = attempt.spec.train
        self.n_steps = train.optimization.max_steps or int(os.environ.get("QLORA_STUDIO_TOY_STEPS", "20"))
        self.step_s = float(os.environ.get("QLORA_STUDIO_TOY_STEP_S", "0.03"))
        self.save_every = train.evaluation.save_every_steps or _SAVE_EVERY
        self.eval_every = train.evaluation.every_steps or _SAVE_EVERY
        self.fail, self.fail_step = _failure(self.n_steps)
        self.panel = _read_panel(attempt.spec)
        self.best: tuple[float, int] = (math.inf, 0)
        self.last_metrics: dict[str, float | None] = {}

    def run(self) -> ResultFile:
        if self.fail == "bad_data":
            raise BadData("None of the 3 clips could be read.")
        if self.fail == "ignore_term":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        attempt = self.attempt
        attempt.phase("model", "Loading the model")
        attempt.phase("baseline", "Measuring the base model")
        base = self._evaluate(0, is_base=True)
        attempt.phase("training", "Training")
        step = self._resume_step()
        while step < self.n_steps and not self._should_stop():
            step += 1
            self._step(step)
            if step % self.eval_every == 0:
                self.last_metrics = self._evaluate(step)
            if step % self.save_every == 0:
                self._save(step)
        return self._finish(step, base)

    def _should_stop(self) -> bool:
        return self.fail != "ignore_term" and self.attempt.stop.is_requested()

    def _resume_step(self) -> int:
        newest = checkpoints.find_newest(self.attempt.checkpoints_path) if self.attempt.spec.resume else None
        return newest.step if newest else 0

    def _step(self, step: int) -> None:
        time.sleep(self.step_s)
        if step == self.fail_step:
            _inject(self.fail, step)
        attempt = self.attempt
        attempt.heartbeat.step = step
        loss = 0.4 + 3 * math.exp(-4 * step / self.n_steps)
        rate = 5e-4 * (1 - (step - 1) / self.n_steps)
        attempt.events.metric(
            step, {"loss": loss, "learning_rate": rate, "grad_norm": loss / 2, "samples_per_s": 240}
        )
        eta_s = (self.n_steps - step) * self.step_s
        epoch = 3 * step / self.n_steps
        attempt.events.emit("progress", step=step, total_steps=self.n_steps, epoch=epoch, eta_s=eta_s)
        print(f"step {step}/{self.n_steps} loss {loss:.4f}", flush=True)

    def _evaluate(self, step: int, *, is_base: bool = False) -> dict[str, float | None]:
        wer = 0.1 + 0.5 * math.exp(-3 * step / self.n_steps)
        values: dict[str, float | None] = {"wer": wer, "cer": wer / 2, "wer_normalised": wer, "loss": wer * 2}
        is_best = not is_base and wer < self.best[0]
        if is_best:
            self.best = (wer, step)
        self.attempt.events.emit("eval", step=step, values=values, base=is_base, is_best=is_best)
        for clip in self.panel:
            text = clip.text or ""
            now = text if wer < 0.3 else text[: len(text) // 2]
            self.attempt.events.emit(
                "sample", step=step, clip_id=clip.id, reference=text, base=text[::-1], now=now, error=wer
            )
        return values

    def _save(self, step: int) -> None:
        def fill(folder: Path) -> None:
            (folder / "toy.txt").write_text(f"step {step}\n")

        path, size = checkpoints.save(
            self.attempt.checkpoints_path, step=step, fill=fill, state={"step": step}
        )
        self.attempt.events.emit("checkpoint", step=step, name=path.name, size_bytes=size)

    def _finish(self, step: int, base: dict[str, float | None]) -> ResultFile:
        is_stopped = step < self.n_steps
        reason = ExitReason.USER_STOP if is_stopped else ExitReason.OK
        if is_stopped and self.attempt.stop.mode is StopMode.KILL:
            return ResultFile(reason=reason, message="Stopped without saving.", step=step, base_metrics=base)
        self.attempt.events.emit("phase", name="saving", label="Saving the adapter")
        metrics = self._evaluate(step)
        _write_adapter(self.attempt.adapter_path)
        message = f"Stopped at step {step}; the adapter is kept." if is_stopped else "Finished."
        return ResultFile(
            reason=reason,
            message=message,
            step=step,
            adapter_path=str(self.attempt.adapter_path),
            metrics=metrics,
            base_metrics=base,
            best_step=self.best[1],
            samples_per_s=240.0,
            extra={"n_train": len(self.panel)},
        )


def _failure(n_steps: int) -> tuple[str, int]:
    name, _, step = os.environ.get("QLORA_STUDIO_TOY_FAIL", "").partition("@")
    return name, int(step or max(1, n_steps // 2))


def _inject(failure: str, step: int) -> None:
    if failure == "nan":
        raise NotANumber(f"The loss is not a number at step {step}. Lower the learning rate and resume.")
    if failure == "oom":
        raise MemoryError
    if failure == "disk_full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if failure == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if failure == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)


def _read_panel(spec: WorkerSpec) -> list[ClipItem]:
    """The first few clips of the run; a toy job may come without any."""
    if not spec.clips_path.is_file():
        return []
    with spec.clips_path.open(encoding="utf-8") as file:
        lines = [line for line, _ in zip(file, range(_PANEL), strict=False)]
    return [ClipItem.model_validate_json(line) for line in lines]


def _write_adapter(folder: Path) -> None:
    """A PEFT-shaped folder with one zero tensor, without needing torch or numpy."""
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps(
        {"toy.lora_A.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    tensors = struct.pack("<Q", len(header)) + header + struct.pack("<f", 0.0)
    (folder / "adapter_model.safetensors").write_bytes(tensors)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1}))
    (folder / "README.md").write_text("# Toy adapter\nMade by a test; it adapts nothing.\n")


def main() -> int:
    """Run the spec named on the command line."""
    spec = read_spec(Path(sys.argv[1]))
    return run_attempt(spec, lambda attempt: ToyRun(attempt).run(), device="toy", versions={"toy": "1"})


if __name__ == "__main__":
    sys.exit(main())
