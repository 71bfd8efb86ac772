"""The competitor of P1: what one writes with transformers, peft and bitsandbytes alone, features on the fly.

    python -m benchmarks.p1_plain_script SPEC

Takes the same `spec.json` as our worker and prints one JSON object: the time of each step's end and its loss.
Nothing here comes from this project but the reading of the spec.
"""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import soundfile
import soxr
import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    BitsAndBytesConfig,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    set_seed,
)


class Clock(TrainerCallback):
    """Notes when each step ended, and its loss."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs and "loss" in logs:
            self.ends.append(time.time())
            self.losses.append(logs["loss"])


def train_and_print(spec: dict[str, Any], model: Any, clips: list[dict[str, Any]], collate: Any) -> None:
    """Train as the spec says with the stock trainer, and print the figures."""
    train = spec["train"]["optimization"]
    clock = Clock()
    save_every = spec["train"]["evaluation"]["save_every_steps"]
    Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=spec["attempt_path"],
            per_device_train_batch_size=train["batch_size"],
            max_steps=train["max_steps"],
            learning_rate=train["learning_rate"],
            warmup_steps=math.ceil(0.1 * train["max_steps"]),
            seed=train["seed"],
            use_cpu=True,
            remove_unused_columns=False,
            label_names=["labels"],
            logging_steps=1,
            save_strategy="steps" if save_every < train["max_steps"] else "no",
            save_steps=save_every,
            save_total_limit=2,
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=clips,  # type: ignore[arg-type]
        data_collator=collate,
        callbacks=[clock],
    ).train()
    print(json.dumps({"ends": clock.ends, "losses": clock.losses}))


def main() -> None:
    """Train and print the figures."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    train, lora = spec["train"]["optimization"], spec["train"]["qlora"]
    torch.set_num_threads(spec["threads"] or torch.get_num_threads())
    clips = [json.loads(line) for line in Path(spec["clips_path"]).read_text().splitlines()]
    processor = WhisperProcessor.from_pretrained(spec["model_path"])
    start_id = json.loads((Path(spec["model_path"]) / "config.json").read_text())["decoder_start_token_id"]

    def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        waves, labels = [], []
        for clip in batch:
            samples, rate = soundfile.read(clip["path"], dtype="float32")
            waves.append(samples if rate == 16_000 else soxr.resample(samples, rate, 16_000))
            ids = processor.tokenizer(clip["text"]).input_ids
            labels.append(torch.tensor(ids[1:] if ids[0] == start_id else ids))
        features = processor.feature_extractor(
            waves, sampling_rate=16_000, return_tensors="pt"
        ).input_features
        padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
        return {"input_features": features, "labels": padded}

    set_seed(train["seed"])
    if spec["train"]["training_type"] == "pretraining":
        whole = WhisperForConditionalGeneration.from_pretrained(spec["model_path"], dtype=torch.float32)
        train_and_print(spec, whole, clips, collate)
        return
    model = WhisperForConditionalGeneration.from_pretrained(
        spec["model_path"],
        dtype=torch.float32,
        device_map={"": "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
            llm_int8_skip_modules=["proj_out"],
        ),
    )
    model.config.use_cache = False
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    model = get_peft_model(
        model,
        LoraConfig(
            r=lora["rank"],
            lora_alpha=lora["alpha"],
            lora_dropout=lora["dropout"],
            target_modules=["q_proj", "v_proj"],
        ),
    )
    train_and_print(spec, model, clips, collate)


if __name__ == "__main__":
    main()
