"""P14: the first audio of a warm model, against a direct call of transformers.

    python -m benchmarks.p14_first_audio [--model FOLDER] [--repeats 5] [--seconds 2]

One prompt, one seed, guidance as usual. Our side goes through the inference process, pipes, WAV file and all;
the other is tokenizer and `generate` in this process, on the plainly loaded 4-bit model. Without `--model`,
it is the starter sound model. Ends with 1 when the two do not make the same sound.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers

from benchmarks.p14_adapter_swap import LATENCY_AIM, _timed
from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.spec import QLoraSpec
from qlora_studio.examples.catalog import starter_model_path
from qlora_studio.training import families, quantize
from qlora_studio.training.tasks.musicgen import GUIDANCE, set_special_tokens
from tests.engine.test_process import Engine

PROMPT, SEED = "a long high bell, note a", 7
TOP_K = 250
# Of 16-bit samples: a file rounds to one of them, and sums of 32 bits come in another order in a process with
# other threads.
SAME_WITHIN = 4 / 32768


def main() -> int:
    """Print each repeat and the ratio; 0 when both made the same sound."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=starter_model_path("sound"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model_path = arguments.model
        is_same = _compare(model_path.resolve(), root, arguments.repeats, arguments.seconds)
    return 0 if is_same else 1


def _compare(model_path: Path, root: Path, repeats: int, seconds: float) -> bool:
    request = {
        "task": "text-to-audio",
        "model_path": str(model_path),
        "sound": {"prompt": PROMPT, "seconds": seconds, "seed": SEED, "path": str(root / "sound.wav")},
        "variants": [{}],
        "device": "cpu",
    }
    direct = _load(model_path, seconds)
    direct()  # neither side pays for its first call
    engine = Engine()
    try:
        engine.answer(request)  # loads
        print(f"{'repeat':>6} {'warm s':>9} {'direct s':>9}")
        ours, theirs, gaps = [], [], []
        for number in range(1, repeats + 1):
            ours_s, _ = _timed(lambda: engine.answer(request))
            theirs_s, wave = _timed(direct)
            made, _ = soundfile.read(root / "sound.wav", dtype="float32")
            gaps.append(float(np.abs(made - np.clip(wave[: len(made)], -1, 1)).max()))
            ours.append(ours_s)
            theirs.append(theirs_s)
            print(f"{number:>6} {ours_s:>9.3f} {theirs_s:>9.3f}", flush=True)
    finally:
        engine.process.kill()
        engine.process.communicate()
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(
        f"P14 first audio / direct call = {ratio:.2f} (aim {LATENCY_AIM}); samples differ by {max(gaps):.1e}"
    )
    return max(gaps) <= SAME_WITHIN


def _load(model_path: Path, seconds: float) -> Callable[[], np.ndarray]:
    """Load the model as a plain script does; return what makes one sound, (n,) float32."""
    config: Any = transformers.AutoConfig.from_pretrained(model_path)
    model_class = transformers.MusicgenForConditionalGeneration
    quantised = quantize.quantization_config(
        QLoraSpec(),
        families.family_of(families.read_config(model_path), Task.TEXT_TO_AUDIO),
        "cpu",
        bits=4,
        model_class=model_class,
        config=config,
    )
    model: Any = model_class.from_pretrained(
        model_path, dtype=torch.float32, quantization_config=quantised, device_map={"": "cpu"}
    )
    quantize.keep_weights_unpacked(model)  # else some CPUs multiply in bfloat16, which training never does
    set_special_tokens(model.eval())  # without this, transformers 5 can't start
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_path)
    n_steps = int(np.ceil(seconds * config.audio_encoder.frame_rate)) + config.decoder.num_codebooks - 1

    def make() -> np.ndarray:
        torch.manual_seed(SEED)
        with torch.no_grad():
            waves = model.generate(
                **tokenizer([PROMPT], return_tensors="pt"),
                do_sample=True,
                guidance_scale=GUIDANCE,
                top_k=min(TOP_K, config.decoder.vocab_size),
                max_new_tokens=n_steps,
            )
        return waves[0, 0].numpy()

    return make


if __name__ == "__main__":
    sys.exit(main())
