"""The model's words and codes: what it learns to say for a prompt, and the training itself."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qlora_studio.training.tasks import delay
from scripts.starter_sound.prompts import describe
from scripts.starter_sound.sounds import Sound

UNPROMPTED = 0.1  # of all sounds are learnt without their prompt: guidance needs both


@dataclass(frozen=True)
class Lessons:
    """What there is to learn.

    Attributes:
        sounds: What is heard.
        codes: (sounds, codebooks, frames), int16.
        silence: (codebooks,), the codes of a silent frame.
    """

    sounds: list[Sound]
    codes: np.ndarray
    silence: np.ndarray


def batch_of(
    lessons: Lessons, tokenizer: Any, rng: np.random.Generator, size: int
) -> dict[str, torch.Tensor]:
    """Draw a batch: prompts anew each time, an eighth of the batches with silence after the sound.

    Returns:
        `input_ids` and `attention_mask` (size, tokens), `labels` (size, time, codebooks), delayed.
    """
    chosen = rng.integers(0, len(lessons.sounds), size)
    texts = [describe(lessons.sounds[i], rng, exact=bool(rng.random() < 0.15)) for i in chosen]
    said = tokenizer(texts, padding=True, return_tensors="pt")
    mask = said.attention_mask * torch.from_numpy(rng.random(size) >= UNPROMPTED)[:, None]
    codes = lessons.codes[chosen]
    if rng.random() < 0.125:
        more = rng.integers(8, 48)
        tail = np.broadcast_to(lessons.silence[None, :, None], (size, len(lessons.silence), more))
        codes = np.concatenate([codes, tail], axis=2)
    labels = delay.pad([delay.delay(item) for item in codes])
    return {"input_ids": said.input_ids, "attention_mask": mask, "labels": torch.from_numpy(labels)}


def learn(
    model: Any,
    tokenizer: Any,
    lessons: Lessons,
    *,
    minutes: float,
    batch_size: int = 32,
    rate: float = 1.5e-3,
    seed: int = 0,
    on_pause: Callable[[int, float], None],
    pause_every: int = 500,
) -> int:
    """Train text encoder and decoder together for so many minutes; the codec stays as it is.

    Args:
        model: Changed in place.
        tokenizer: Of the prompts.
        lessons: To learn from.
        minutes: The rate falls to nothing over them, so the same number on another machine is another model.
        batch_size: Sounds in a step.
        rate: The highest.
        seed: Of batches.
        on_pause: Called with the steps done and the mean loss since the last call.
        pause_every: So many steps.

    Returns:
        The number of steps.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model.audio_encoder.requires_grad_(False)
    model.train()
    model.audio_encoder.eval()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    began, step, losses = time.monotonic(), 0, []
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * share))
        batch = batch_of(lessons, tokenizer, rng, batch_size)
        with torch.autocast("cpu", dtype=torch.bfloat16):  # half the time where the processor has it
            loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step += 1
        losses.append(loss.item())
        if step % pause_every == 0:
            on_pause(step, float(np.mean(losses)))
            losses = []
    model.eval()
    return step
