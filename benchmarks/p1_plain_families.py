"""The competitors of P1 beyond Whisper's transcription: plain transformers, peft and bitsandbytes.

    python -m benchmarks.p1_plain_families SPEC

As `p1_plain_script`, for CTC on waveforms, AST and Whisper's encoder as classifiers, and MusicGen. Sound is
read and prepared on the fly, MusicGen's codes included. Nothing here comes from this project but the reading
of the spec.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
import transformers
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoFeatureExtractor, AutoProcessor, BitsAndBytesConfig

from benchmarks.p1_plain_script import train_and_print

HEADS = {"ctc": ["lm_head"], "classification": ["classifier", "projector"], "musicgen": ["lm_heads"]}
KINDS = {
    "Wav2Vec2ForCTC": "ctc",
    "ASTForAudioClassification": "classification",
    "WhisperForAudioClassification": "classification",
    "MusicgenForConditionalGeneration": "musicgen",
}


class Collator:
    """Reads sound and makes a batch, as the examples of the library do."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        is_classifier = kind == "classification"
        self.processor = (AutoFeatureExtractor if is_classifier else AutoProcessor).from_pretrained(folder)
        self.extractor = getattr(self.processor, "feature_extractor", self.processor)
        labels = json.loads((folder / "config.json").read_text()).get("label2id", {})
        self.labels = {label: int(index) for label, index in labels.items()}
        self.codec: Any = None

    def __call__(self, clips: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        waves = [self._read(clip) for clip in clips]
        return getattr(self, f"_{self.kind}")(clips, waves)

    def _read(self, clip: dict[str, Any]) -> np.ndarray:
        samples, rate = soundfile.read(clip["path"], dtype="float32")
        wanted = self.extractor.sampling_rate
        return samples if rate == wanted else soxr.resample(samples, rate, wanted)

    def _ctc(self, clips: list[dict[str, Any]], waves: list[np.ndarray]) -> dict[str, torch.Tensor]:
        batch = self.extractor(
            waves, sampling_rate=self.extractor.sampling_rate, padding=True, return_tensors="pt"
        )
        ids = [torch.tensor(self.processor.tokenizer(clip["text"]).input_ids) for clip in clips]
        labels = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-100)
        return {**batch, "labels": labels}

    def _classification(
        self, clips: list[dict[str, Any]], waves: list[np.ndarray]
    ) -> dict[str, torch.Tensor]:
        batch = self.extractor(waves, sampling_rate=self.extractor.sampling_rate, return_tensors="pt")
        return {**batch, "labels": torch.tensor([self.labels[clip["label"]] for clip in clips])}

    def _musicgen(self, clips: list[dict[str, Any]], waves: list[np.ndarray]) -> dict[str, torch.Tensor]:
        prompts = self.processor.tokenizer(
            [clip["text"] for clip in clips], padding=True, return_tensors="pt"
        )
        codes = []
        for wave in waves:
            with torch.no_grad():
                found = self.codec.encode(torch.from_numpy(wave)[None, None]).audio_codes[0, 0]
            codes.append(found.T)  # (time, codebooks)
        labels = torch.nn.utils.rnn.pad_sequence(codes, batch_first=True, padding_value=-100)
        return {**prompts, "labels": labels}


def load(folder: Path, class_name: str, kind: str, lora: dict[str, Any]) -> Any:
    """The model in 4 bits with its adapter."""
    model = getattr(transformers, class_name).from_pretrained(
        folder,
        dtype=torch.float32,
        device_map={"": "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
            llm_int8_skip_modules=[*HEADS[kind], "enc_to_dec_proj", "wo"],
        ),
    )
    if kind == "musicgen":
        decoder = model.config.decoder
        decoder.decoder_start_token_id = decoder.bos_token_id
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    heads = [name for name in HEADS[kind] if kind != "musicgen" and hasattr(model, name)]
    targets = lora["target_modules"]
    config = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules=rf"decoder\..*\.({'|'.join(targets)})" if kind == "musicgen" else targets,
        modules_to_save=heads or None,
    )
    if kind == "ctc":
        model.freeze_feature_encoder()
    return get_peft_model(model, config)


def main() -> None:
    """Train and print the figures."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    train, lora = spec["train"]["optimization"], spec["train"]["qlora"]
    torch.set_num_threads(spec["threads"] or torch.get_num_threads())
    folder = Path(spec["model_path"])
    clips = [json.loads(line) for line in Path(spec["clips_path"]).read_text().splitlines()]
    class_name = json.loads((folder / "config.json").read_text())["architectures"][0]
    kind = KINDS[class_name]
    collate = Collator(kind, folder)
    transformers.set_seed(train["seed"])
    model = load(folder, class_name, kind, lora)
    if kind == "musicgen":
        collate.codec = model.get_base_model().audio_encoder
    train_and_print(spec, model, clips, collate)


if __name__ == "__main__":
    main()
