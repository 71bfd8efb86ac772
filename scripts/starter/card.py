"""The model card of the starter model."""

from pathlib import Path

from qlora_studio.contracts.events import ResultFile
from scripts.starter.measure import Gain

_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: automatic-speech-recognition
tags: [qlora-studio, speech, ctc, synthetic-speech]
---
# Starter speech recogniser

A small English speech-to-text model to learn fine-tuning with: it loads in a second, trains in minutes on two
cores, and has plenty to learn from real speech. It is no product: for real use, start from a large pretrained
model.

| | |
|---|---|
| architecture | Wav2Vec2-BERT with a CTC head, {millions:.1f} million parameters |
| alphabet | a to z, apostrophe, space |
| input | 16 kHz mono, log-mel; 33 steps a second |
| weights | safetensors, 16-bit; `from_pretrained` widens them to 32 bits |
| licence | Apache-2.0 |

## Training

Pre-trained from random weights by QLoRA Studio's own worker on synthetic speech only: {n_clips:,} short
English phrases ({hours:.1f} hours) spoken by espeak-ng (many voices) and flite (four), through simulated
rooms, microphones and telephone lines. The phrases come from a small grammar and a list of common words. No
recording of the example dataset was used, and no phrase of three words or more that occurs there. {steps:,}
steps. Script, grammar and seeds: `scripts/starter/` in the source; `make starter` builds it again.

## How well it hears

| | word error rate | character error rate |
|---|---|---|
| unseen synthetic speech | {synthetic_wer:.1%} | {synthetic_cer:.1%} |
| real speech (the example dataset's 96 held-out clips), 4-bit | {base_wer:.1%} | {base_cer:.1%} |
| the same after QLoRA on the 400 training clips | **{wer:.1%}** | **{cer:.1%}** |

Fine-tuning: NF4 with double quantisation, rank 16 on every linear layer, {tuning_steps} steps of 4 clips,
{tuning_s:.0f} seconds on {threads} thread(s), start and evaluations included. One speaker, one run, one seed:
take a difference of a percentage point for noise.

## Limits

It has heard machines only. Names, rare words, children, strong accents, noise, more than one speaker, and
languages other than English are beyond it. It writes lower-case letters without punctuation, and numbers as
words.
"""


def write_card(
    path: Path,
    result: ResultFile,
    gain: Gain,
    *,
    n_clips: int,
    n_steps: int,
    hours: float,
    millions: float,
    threads: int,
) -> None:
    """Write the card with the figures of a build.

    Args:
        path: The `README.md` to write.
        result: Of the last pre-training job; its metrics are on synthetic speech.
        gain: What fine-tuning on the example dataset did.
        n_clips: Synthetic clips trained on.
        n_steps: Steps of all stages together.
        hours: Their length.
        millions: Parameters of the model.
        threads: That fine-tuning had.
    """
    figures = {
        "synthetic_wer": result.metrics["wer"] or 0.0,
        "synthetic_cer": result.metrics["cer"] or 0.0,
        "steps": n_steps,
        "base_wer": gain.base_wer,
        "base_cer": gain.base_cer,
        "wer": gain.wer,
        "cer": gain.cer,
        "tuning_steps": gain.steps,
        "tuning_s": gain.took_s,
    }
    text = _CARD.format(**figures, n_clips=n_clips, hours=hours, millions=millions, threads=threads)
    path.write_text(text, encoding="utf-8")
