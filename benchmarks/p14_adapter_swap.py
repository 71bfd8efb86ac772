"""P14: putting another adapter on a warm base against loading both anew, and what a warm answer costs.

    python -m benchmarks.p14_adapter_swap [--model FOLDER] [--repeats 5]

Both sides end with the same logits. "first" reads the adapter from the disk onto the warm base, "again" is
one that is there already; "reload" is plain transformers and peft. The second table is a clip of two seconds
through the inference process, pipes and all, against features, `generate` and decoding in this process on the
plainly loaded 4-bit model. Ends with 1 below the floor, or when the sides differ.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peft import PeftModel

from benchmarks.p1_throughput import RANDOM_MODEL
from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.spec import QLoraSpec
from qlora_studio.engine import adapter_files
from qlora_studio.engine.warm import BaseKey, WarmModel
from qlora_studio.services.engine_host import COMMAND
from qlora_studio.training import families, quantize
from tests.engine import adapters
from tests.engine.test_process import Engine
from tests.training import tiny

FLOOR, AIM, LATENCY_AIM = 0.1, 0.01, 1.1
RATE = 16_000


def _reload(model_path: Path, adapter_path: Path) -> Any:
    """Base and adapter from the disk, as a plain script loads them."""
    family = families.FAMILIES["whisper"]
    config = transformers.AutoConfig.from_pretrained(model_path)
    model_class = transformers.WhisperForConditionalGeneration
    quantised = quantize.quantization_config(
        QLoraSpec(), family, "cpu", bits=4, model_class=model_class, config=config
    )
    base = model_class.from_pretrained(
        model_path, dtype=torch.float32, quantization_config=quantised, device_map={"": "cpu"}
    )
    quantize.keep_weights_unpacked(base)  # else some CPUs multiply in bfloat16, which training never does
    return PeftModel.from_pretrained(base, str(adapter_path)).eval()


def _logits(model: Any, window: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_features=window, decoder_input_ids=torch.ones(1, 4, dtype=torch.long)).logits


def _direct(model: Any, processor: Any, samples: np.ndarray) -> str:
    features = processor(samples, sampling_rate=RATE, return_tensors="pt").input_features
    with torch.inference_mode():
        ids = model.generate(input_features=features, max_new_tokens=440, do_sample=False, num_beams=1)
    return " ".join(processor.batch_decode(ids, skip_special_tokens=True)[0].split())


def _timed(call: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def main() -> int:
    """Print the tables; 0 when the floor holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model_path = arguments.model or tiny.make_whisper(root / "model", **RANDOM_MODEL)
        clips = tiny.write_clips(root / "clips", n_train=2, n_validation=1)
        spec = tiny.make_spec(root, model_path, clips, qlora={"rank": 16, "target_modules": "attention"})
        paths = [root / f"adapter{seed}" for seed in range(arguments.repeats + 1)]
        for seed, path in enumerate(paths):
            adapters.make_adapter(spec, path, seed=seed)
        ratio, is_same = _swaps(model_path, paths)
        _latency(model_path, paths[0], root, arguments.repeats)
    return 0 if ratio <= FLOOR and is_same else 1


def _swaps(model_path: Path, paths: list[Path]) -> tuple[float, bool]:
    warm = WarmModel(BaseKey(Task.SPEECH_TO_TEXT, model_path, "", "cpu", adapter_files.BaseNeeds()))
    window = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 80, 3000)).astype(np.float32))
    with warm.using(adapter_files.read(paths[0]), 1.0):
        pass

    def put_on(path: Path) -> Any:
        with warm.using(adapter_files.read(path), 1.0) as model:
            return model

    print(f"{'repeat':>6} {'first s':>9} {'again s':>9} {'reload s':>9} {'logits differ':>14}")
    again, reload, gaps = [], [], []
    for number, path in enumerate(paths[1:], 1):
        first_s, _ = _timed(lambda path=path: put_on(path))
        put_on(paths[number - 1])
        again_s, _ = _timed(lambda path=path: put_on(path))
        with warm.using(adapter_files.read(path), 1.0) as swapped:
            ours = _logits(swapped, window)
        reload_s, plain = _timed(lambda path=path: _reload(model_path, path))
        gaps.append(float((ours - _logits(plain, window)).abs().max()))
        again.append(again_s)
        reload.append(reload_s)
        print(f"{number:>6} {first_s:>9.4f} {again_s:>9.4f} {reload_s:>9.2f} {gaps[-1]:>14.1e}", flush=True)
    ratio = statistics.median(again) / statistics.median(reload)
    print(f"P14 swap / reload = {ratio:.4f} (floor {FLOOR}, aim {AIM})")
    return ratio, max(gaps) < 1e-4


def _latency(model_path: Path, adapter_path: Path, root: Path, repeats: int) -> None:
    samples = (0.1 * np.random.default_rng(1).standard_normal(2 * RATE)).astype(np.float32)
    request = {
        "task": "speech-to-text",
        "model_path": str(model_path),
        "samples_path": str(adapters.write_samples(root / "clip.f32", samples)),
        "sample_rate": RATE,
        "variants": [{"adapter_path": str(adapter_path)}],
        "device": "cpu",
    }
    model = _reload(model_path, adapter_path)
    processor = transformers.WhisperProcessor.from_pretrained(model_path)
    engine = Engine()
    try:
        engine.answer(request)  # loads
        print(f"{'repeat':>6} {'process s':>9} {'direct s':>9}   ({' '.join(COMMAND[1:])})")
        ours, theirs, texts = [], [], set()
        for number in range(1, repeats + 1):
            ours_s, answer = _timed(lambda: engine.answer(request))
            theirs_s, text = _timed(lambda: _direct(model, processor, samples))
            texts |= {text, answer["answer"]["heard"][0]["text"]}
            ours.append(ours_s)
            theirs.append(theirs_s)
            print(f"{number:>6} {ours_s:>9.2f} {theirs_s:>9.2f}", flush=True)
    finally:
        engine.process.kill()
        engine.process.communicate()
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"warm answer / direct call = {ratio:.2f} (aim {LATENCY_AIM}); texts agree: {len(texts) == 1}")


if __name__ == "__main__":
    sys.exit(main())
