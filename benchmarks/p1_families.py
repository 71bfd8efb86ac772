"""P1 beyond Whisper's transcription: our jobs against plain scripts for CTC, classifiers and MusicGen.

    python -m benchmarks.p1_families [--family ctc …] [--clips JSONL] [--repeats 3] [--epochs 5] [--threads N]

The models have the widths of Wav2Vec2 base, AST, Whisper tiny's encoder, and MusicGen with EnCodec at 32 kHz,
fewer layers and random weights: the work is the same, what they say is not. Each side is a process of its
own, in turns, over the same real clips. The script and exact mode run one epoch; fast mode runs `--epochs`,
since what it keeps is made in the first. The first step is left out on all sides. Losses of exact mode and
the script are compared, but for MusicGen, where ours leaves out prompts at random. Ends with 1 when losses
differ or exact mode is below its floor.
"""

import argparse
import json
import statistics
import string
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.p1_throughput import BATCH, Figures, example_clips, fold_spaces, run_ours, run_script
from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.spec import ClipItem, WorkerSpec
from tests.training import melodies, tiny

FLOOR, TOLERANCE = 0.99, 1e-4
CLASSES = ["long", "short"]


@dataclass(frozen=True)
class Side:
    """A family that is compared.

    Attributes:
        make: writes the model into a folder.
        task: of the job.
        has_same_losses: whether exact mode and the script see the same random numbers.
    """

    make: Callable[[Path], Path]
    task: Task
    has_same_losses: bool = True


def make_ctc(folder: Path) -> Path:
    """Wav2Vec2 base, four layers of twelve, with the layer norms and the mask of the newer ones.

    Of the oldest, with a group norm and no mask, the library's extractor counts padding into the loudness of
    a clip in a batch; ours doesn't, so losses would differ.
    """
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC, Wav2Vec2Processor

    tokenizer = _letters(folder)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=tiny.RATE, return_attention_mask=True)
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    still = dict.fromkeys(_DROPOUTS, 0.0)
    config = Wav2Vec2Config(
        vocab_size=len(tokenizer),
        num_hidden_layers=4,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
        mask_time_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        **still,
    )
    return _save(Wav2Vec2ForCTC, config, folder)


def _letters(folder: Path) -> Any:
    from transformers import Wav2Vec2CTCTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["<pad>", "<unk>", "|", *string.ascii_lowercase]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    return Wav2Vec2CTCTokenizer(
        folder / "vocab.json", unk_token="<unk>", pad_token="<pad>", bos_token=None, eos_token=None
    )


_DROPOUTS = (
    "attention_dropout",
    "hidden_dropout",
    "activation_dropout",
    "feat_proj_dropout",
    "final_dropout",
    "layerdrop",
)


def make_ast(folder: Path) -> Path:
    """AST, four layers of twelve, its window of 10.24 s."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    ASTFeatureExtractor().save_pretrained(folder)
    config = ASTConfig(num_hidden_layers=4, **_labels())
    return _save(ASTForAudioClassification, config, folder)


def make_whisper(folder: Path) -> Path:
    """Whisper tiny's encoder."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForAudioClassification

    WhisperFeatureExtractor().save_pretrained(folder)
    config = WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, **_labels()
    )
    return _save(WhisperForAudioClassification, config, folder)


def make_musicgen(folder: Path) -> Path:
    """EnCodec at 32 kHz as MusicGen has it, a decoder of 512 and four layers, a T5 of 512 and four layers."""
    from transformers import (
        EncodecConfig,
        EncodecFeatureExtractor,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        MusicgenProcessor,
        T5Config,
    )

    tokenizer = melodies.t5_tokenizer()
    MusicgenProcessor(EncodecFeatureExtractor(sampling_rate=32_000), tokenizer).save_pretrained(folder)
    codec = EncodecConfig(
        sampling_rate=32_000,
        upsampling_ratios=[8, 5, 4, 4],
        num_filters=64,
        codebook_size=2048,
        target_bandwidths=[2.2],
        normalize=False,
        use_causal_conv=False,
    )
    still = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    config = MusicgenConfig(
        text_encoder=T5Config(
            vocab_size=len(tokenizer), d_model=512, num_layers=4, dropout_rate=0.0
        ).to_dict(),
        audio_encoder=codec.to_dict(),
        decoder=MusicgenDecoderConfig(
            hidden_size=512, ffn_dim=2048, num_hidden_layers=4, num_attention_heads=8, **still
        ).to_dict(),
    )
    return _save(MusicgenForConditionalGeneration, config, folder)


def _labels() -> dict[str, Any]:
    return {"id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)}}


def _save(model_class: Any, config: Any, folder: Path) -> Path:
    import torch

    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    return folder


SIDES = {
    "ctc": Side(make_ctc, Task.SPEECH_TO_TEXT),
    "ast": Side(make_ast, Task.AUDIO_CLASSIFICATION),
    "whisper-encoder": Side(make_whisper, Task.AUDIO_CLASSIFICATION),
    "musicgen": Side(make_musicgen, Task.TEXT_TO_AUDIO, has_same_losses=False),
}


def write_clips(source: Path | None, target: Path, n_clips: int) -> Path:
    """Write clips for every task: texts as they are, and two classes that follow from their lengths."""
    if source is None:
        example_clips(target, n_clips=n_clips)
    else:
        fold_spaces(source, target)
    clips = [ClipItem.model_validate_json(line) for line in target.read_text().splitlines()][:n_clips]
    middle = statistics.median(clip.duration_s for clip in clips)
    labelled = [
        clip.model_copy(update={"label": CLASSES[clip.duration_s < middle], "text": _spoken(clip.text or "")})
        for clip in clips
    ]
    target.write_text("\n".join(clip.model_dump_json() for clip in labelled) + "\n")
    return target


def _spoken(text: str) -> str:
    kept = "".join(letter for letter in text.lower() if letter in string.ascii_lowercase or letter == " ")
    return " ".join(kept.split())


def compare(name: str, root: Path, clips: Path, arguments: argparse.Namespace) -> bool:
    """Print a family's table; whether its floors hold."""
    side = SIDES[name]
    model = side.make(root / "model")
    n_steps = len(clips.read_text().splitlines()) // BATCH

    def spec_of(kind: str, mode: str, n_steps: int) -> WorkerSpec:
        spec = tiny.make_spec(
            root / kind,
            model,
            clips,
            qlora={"target_modules": ["q_proj", "v_proj"]},
            optimization={"max_steps": n_steps, "batch_size": BATCH, "learning_rate": 1e-3, "mode": mode},
            evaluation={"save_every_steps": 10**6, "every_steps": 10**6, "probe": False},
        )
        return spec.model_copy(update={"threads": arguments.threads, "task": side.task})

    runs: dict[str, Callable[[], Figures]] = {
        "plain": lambda: run_script(spec_of("plain", "exact", n_steps), "p1_plain_families"),
        "exact": lambda: run_ours(spec_of("exact", "exact", n_steps)),
        "fast": lambda: run_ours(spec_of("fast", "fast", n_steps * arguments.epochs)),
    }
    found: dict[str, list[Figures]] = {kind: [] for kind in runs}
    for number in range(arguments.repeats):
        for kind in runs if number % 2 else reversed(runs):
            found[kind].append(runs[kind]())
        rates = " ".join(f"{found[kind][-1].rate:>9.3f}" for kind in runs)
        print(f"{name:>16} {number + 1:>6} {rates}", flush=True)
    rates = {kind: statistics.median(f.rate for f in figures) for kind, figures in found.items()}
    exact, fast = rates["exact"] / rates["plain"], rates["fast"] / rates["plain"]
    gap = max(abs(a - b) for a, b in zip(found["exact"][0].losses, found["plain"][0].losses, strict=True))
    if side.has_same_losses and gap > TOLERANCE:
        print(f"losses exact: {found['exact'][0].losses}\nlosses plain: {found['plain'][0].losses}")
    told = f"; largest difference of losses {gap:.1e}" if side.has_same_losses else ""
    print(f"{name:>16} exact {exact:.3f} (floor {FLOOR}), fast {fast:.2f} times the script{told}", flush=True)
    return exact >= FLOOR and (not side.has_same_losses or gap <= TOLERANCE)


def main() -> int:
    """Print all tables; 0 when the floors hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", choices=SIDES, nargs="*", default=list(SIDES))
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--n-clips", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    print(f"samples/s, batch {BATCH}; {'family':>16} repeat   plain     exact      fast")
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(arguments.clips, Path(folder) / "clips.jsonl", arguments.n_clips)
        held = [compare(name, Path(folder) / name, clips, arguments) for name in arguments.family]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
