"""A worker without torch that speaks the whole protocol in about a second, for tests of the supervision.

    python -m qlora_studio.training.toy SPEC

Its adapter is a few numbers that every step moves at random: a step that was left out, repeated or done with
other random numbers gives other bytes.

Environment:
    QLORA_STUDIO_TOY_STEPS     steps when the spec sets no `max_steps` (20)
    QLORA_STUDIO_TOY_STEP_S    seconds a step (0.03)
    QLORA_STUDIO_TOY_BYTES     bytes of ballast in a checkpoint (0)
    QLORA_STUDIO_TOY_ADAPTER_BYTES   bytes of ballast in the adapter (0)
    QLORA_STUDIO_TOY_FAIL      what goes wrong: `qlora_studio/training/toy_faults.py`
"""

import json
import math
import os
import random
import signal
import struct
import sys
import time
from array import array
from pathlib import Path
from typing import Any

from qlora_studio.contracts.enums import ExitReason, StopMode
from qlora_studio.contracts.events import ResultFile
from qlora_studio.contracts.spec import ClipItem, WorkerSpec
from qlora_studio.storage import checkpoints
from qlora_studio.storage.atomic import replace_folder
from qlora_studio.training.attempt import Attempt, read_spec, run_attempt
from qlora_studio.training.failures import BadData
from qlora_studio.training.toy_faults import ToyFault

_SAVE_EVERY = 5
_PANEL = 3
_N_WEIGHTS = 16
_STATE = "toy.json"


class ToyWeights:
    """What a toy trains: numbers that every step moves, and the random numbers it moves them by."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.values = [0.0] * _N_WEIGHTS
        self.best: tuple[float, int] = (math.inf, 0)

    def move(self, step: int) -> None:
        """One step; what comes out hangs on all steps before."""
        self.values = [0.99 * value + self._random.gauss(0, 1 / step) for value in self.values]

    def fill(self, folder: Path, *, ballast: int = 0) -> None:
        """Write a checkpoint's files."""
        version, numbers, next_gauss = self._random.getstate()
        state = {
            "values": self.values,
            "random": [version, list(numbers), next_gauss],
            "best": [None if math.isinf(self.best[0]) else self.best[0], self.best[1]],
        }
        (folder / _STATE).write_text(json.dumps(state))
        if ballast:
            (folder / "ballast.bin").write_bytes(os.urandom(ballast))

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint's files."""
        state: dict[str, Any] = json.loads((folder / _STATE).read_text())
        version, numbers, next_gauss = state["random"]
        self.values = state["values"]
        self._random.setstate((version, tuple(numbers), next_gauss))
        best, step = state["best"]
        self.best = (math.inf if best is None else best, step)

    def tensors(self, ballast: int = 0) -> bytes:
        """The adapter as a safetensors file, made without torch or numpy."""
        data = array("f", self.values).tobytes()
        header: dict[str, Any] = {"toy.lora_A.weight": _tensor("F32", len(self.values), 0, len(data))}
        if ballast:
            header["toy.ballast"] = _tensor("U8", ballast, len(data), len(data) + ballast)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data + b"\1" * ballast


class ToyRun:
    """A curve that falls, with everything around it that a real run has."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        train = attempt.spec.train
        self.n_steps = train.optimization.max_steps or int(os.environ.get("QLORA_STUDIO_TOY_STEPS", "20"))
        self.step_s = float(os.environ.get("QLORA_STUDIO_TOY_STEP_S", "0.03"))
        self.ballast = int(os.environ.get("QLORA_STUDIO_TOY_BYTES", "0"))
        self.adapter_ballast = int(os.environ.get("QLORA_STUDIO_TOY_ADAPTER_BYTES", "0"))
        self.save_every = train.evaluation.save_every_steps or _SAVE_EVERY
        self.eval_every = train.evaluation.every_steps or _SAVE_EVERY
        self.fault = ToyFault.of(attempt.spec, self.n_steps)
        self.panel = _read_panel(attempt.spec)
        self.weights = ToyWeights(train.optimization.seed)
        self.last_metrics: dict[str, float | None] = {}

    def run(self) -> ResultFile:
        if self.fault.name == "bad_data":
            raise BadData("None of the 3 clips could be read.")
        if self.fault.name == "ignore_term":
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
        return self.fault.name != "ignore_term" and self.attempt.stop.is_requested()

    def _resume_step(self) -> int:
        newest = checkpoints.find_newest(self.attempt.checkpoints_path) if self.attempt.spec.resume else None
        if newest is None:
            return 0
        self.weights.load(newest.path)
        return newest.step

    def _step(self, step: int) -> None:
        time.sleep(self.step_s)
        attempt = self.attempt
        attempt.heartbeat.step = step
        loss = 0.4 + 3 * math.exp(-4 * step / self.n_steps)
        rate = 5e-4 * (1 - (step - 1) / self.n_steps)
        values: dict[str, float | None] = {"loss": loss, "learning_rate": rate, "grad_norm": loss / 2}
        values["samples_per_s"] = 240
        if self.fault.name == "nan" and step == self.fault.step:
            attempt.events.metric(step, values | {"loss": None, "grad_norm": None})
        self.fault.at_step(step, attempt.checkpoints_path)
        self.weights.move(step)
        attempt.events.metric(step, values)
        eta_s = (self.n_steps - step) * self.step_s
        epoch = 3 * step / self.n_steps
        attempt.events.emit("progress", step=step, total_steps=self.n_steps, epoch=epoch, eta_s=eta_s)
        print(f"step {step}/{self.n_steps} loss {loss:.4f}", flush=True)

    def _evaluate(self, step: int, *, is_base: bool = False) -> dict[str, float | None]:
        wer = 0.1 + 0.5 * math.exp(-3 * step / self.n_steps)
        values: dict[str, float | None] = {"wer": wer, "cer": wer / 2, "wer_normalised": wer, "loss": wer * 2}
        is_best = not is_base and wer < self.weights.best[0]
        if is_best:
            self.weights.best = (wer, step)
        self.attempt.events.emit("eval", step=step, values=values, base=is_base, is_best=is_best)
        self.fault.in_evaluation(step)
        for clip in self.panel:
            text = clip.text or ""
            now = text if wer < 0.3 else text[: len(text) // 2]
            self.attempt.events.emit(
                "sample", step=step, clip_id=clip.id, reference=text, base=text[::-1], now=now, error=wer
            )
        return values

    def _save(self, step: int) -> None:
        def fill(folder: Path) -> None:
            self.weights.fill(folder, ballast=self.ballast)
            self.fault.in_save(step)

        path, size = checkpoints.save(
            self.attempt.checkpoints_path, step=step, fill=fill, state={"step": step}
        )
        self.attempt.events.emit("checkpoint", step=step, name=path.name, size_bytes=size)

    def _finish(self, step: int, base: dict[str, float | None]) -> ResultFile:
        is_stopped = step < self.n_steps
        reason = ExitReason.USER_STOP if is_stopped else ExitReason.OK
        if is_stopped and self.attempt.stop.mode is StopMode.KILL:
            return ResultFile(reason=reason, message="Stopped without saving.", step=step, base_metrics=base)
        if is_stopped and step and step % self.save_every:
            self._save(step)
        self.attempt.events.emit("phase", name="saving", label="Saving the adapter")
        metrics = self._evaluate(step)
        self._write_adapter()
        message = f"Stopped at step {step}; the adapter is kept." if is_stopped else "Finished."
        return ResultFile(
            reason=reason,
            message=message,
            step=step,
            adapter_path=str(self.attempt.adapter_path),
            metrics=metrics,
            base_metrics=base,
            best_step=self.weights.best[1],
            samples_per_s=240.0,
            extra={"n_train": len(self.panel)},
        )

    def _write_adapter(self) -> None:
        """A PEFT-shaped folder, put in its place as a whole."""

        def fill(folder: Path) -> None:
            (folder / "adapter_model.safetensors").write_bytes(self.weights.tensors(self.adapter_ballast))
            self.fault.in_adapter()
            (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1}))
            (folder / "README.md").write_text("# Toy adapter\nMade by a test; it adapts nothing.\n")

        replace_folder(self.attempt.adapter_path, fill)


def _tensor(kind: str, n: int, start: int, end: int) -> dict[str, Any]:
    return {"dtype": kind, "shape": [n], "data_offsets": [start, end]}


def _read_panel(spec: WorkerSpec) -> list[ClipItem]:
    """The first few clips of the run; a toy job may come without any."""
    if not spec.clips_path.is_file():
        return []
    with spec.clips_path.open(encoding="utf-8") as file:
        lines = [line for line, _ in zip(file, range(_PANEL), strict=False)]
    return [ClipItem.model_validate_json(line) for line in lines]


def main() -> int:
    """Run the spec named on the command line."""
    spec = read_spec(Path(sys.argv[1]))
    return run_attempt(spec, lambda attempt: ToyRun(attempt).run(), device="toy", versions={"toy": "1"})


if __name__ == "__main__":
    sys.exit(main())
