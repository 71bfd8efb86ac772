"""Build the starter sound model from nothing: sounds by formula, a computed codec, an hour of learning.

    python -m scripts.starter_sound.build --work FOLDER      # `make starter-sound`

`FOLDER` keeps codec, codes and the last state; a second call uses the codec and codes that are there.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from qlora_studio.examples.catalog import STARTER_SOUND
from scripts.starter_sound import codec as codecs
from scripts.starter_sound.blueprint import make_model, make_tokenizer
from scripts.starter_sound.card import write_card
from scripts.starter_sound.language import Lessons, learn
from scripts.starter_sound.measure import measure
from scripts.starter_sound.sounds import RATE, draw, make

N_SOUNDS, N_FOR_CODEC, N_MEASURED = 12_000, 6_000, 480


def teach_codec(work: Path, codec: Any) -> None:
    """Compute the codec's weights, or read what was computed before."""
    kept = work / "codec.safetensors"
    if kept.exists():
        codec.load_state_dict(load_file(kept))
        return
    rng = np.random.default_rng(1)
    sounds = [make(draw(rng), rng) for _ in range(N_FOR_CODEC)]
    codecs.fill(codec, codecs.components_of(sounds[:2000]))
    left = codecs.learn_codebooks(codec, torch.from_numpy(np.stack(sounds)))
    print("energy left after each codebook:", " ".join(f"{share:.1%}" for share in left), flush=True)
    save_file(codec.state_dict(), kept)


def make_lessons(work: Path, codec: Any) -> Lessons:
    """Draw sounds and write down their codes, or read those of before."""
    rng = np.random.default_rng(2)
    sounds = []
    kept = work / "codes.npy"
    parts = []
    for _ in range(N_SOUNDS // 500):
        what = [draw(rng) for _ in range(500)]
        seed = int(rng.integers(2**31))
        sounds += what
        if not kept.exists():
            varied = np.random.default_rng(seed)
            parts.append(codecs.encode(codec, torch.from_numpy(np.stack([make(s, varied) for s in what]))))
    if parts:
        np.save(kept, np.concatenate(parts))
    silence = codecs.encode(codec, torch.zeros(1, RATE))[0, :, 20]
    return Lessons(sounds, np.load(kept), silence)


def save(model: Any, tokenizer: Any, target: Path) -> None:
    """Write a folder that `transformers` loads, weights in 16 bits."""
    from transformers import EncodecFeatureExtractor, MusicgenProcessor

    model.generation_config.update(do_sample=True, guidance_scale=3.0, top_k=250, temperature=1.0)
    MusicgenProcessor(EncodecFeatureExtractor(feature_size=1, sampling_rate=RATE), tokenizer).save_pretrained(
        target
    )
    model.save_pretrained(target, state_dict={k: v.half() for k, v in model.state_dict().items()})
    path = target / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    """Build it all, or go on from a model of before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--target", type=Path, default=STARTER_SOUND.path)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--go-on", type=Path, help="a model of the same work folder, to learn more")
    settings = parser.parse_args()
    settings.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters", flush=True)
    if settings.go_on:
        weights = load_file(settings.go_on / "model.safetensors")
        model.load_state_dict({name: weight.float() for name, weight in weights.items()}, strict=False)
    teach_codec(settings.work, model.audio_encoder.eval())
    lessons = make_lessons(settings.work, model.audio_encoder)

    def pause(step: int, loss: float) -> None:
        print(f"step {step}: loss {loss:.3f}", flush=True)
        if step % 500 == 0:
            save(model, tokenizer, settings.work / "last")

    seed = 1 if settings.go_on else 0
    steps = learn(
        model, tokenizer, lessons,
        minutes=settings.minutes, rate=settings.rate, seed=seed, on_pause=pause, pause_every=100,
    )  # fmt: skip
    save(model, tokenizer, settings.target)
    kept = settings.work / "history.json"
    history = {"minutes": 0.0, "steps": 0}
    if settings.go_on:
        history = json.loads(kept.read_text(encoding="utf-8"))
    history = {"minutes": history["minutes"] + settings.minutes, "steps": history["steps"] + steps}
    kept.write_text(json.dumps(history) + "\n", encoding="utf-8")
    write_card(
        settings.target / "README.md",
        measure(settings.target, n_sounds=N_MEASURED),
        millions=sum(p.numel() for p in model.parameters()) / 1e6,
        n_sounds=N_SOUNDS,
        minutes=history["minutes"],
        steps=int(history["steps"]),
        n_measured=N_MEASURED,
        guidance=3.0,
        temperature=1.0,
    )


if __name__ == "__main__":
    main()
