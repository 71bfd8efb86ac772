"""The embedded model is small, safe to load, of a supported family, and what its card says."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from qlora_studio.examples.catalog import STARTER_MODEL, starter_model_path

MAX_BYTES = 12_000_000


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return json.loads((starter_model_path() / "config.json").read_text(encoding="utf-8"))


def test_only_small_files_of_known_kinds() -> None:
    files = [path for path in starter_model_path().rglob("*") if path.is_file()]

    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors"}
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES


def test_architecture_is_one_that_trains(config: dict[str, Any]) -> None:
    assert config["architectures"] == ["Wav2Vec2BertForCTC"]
    assert config["model_type"] == "wav2vec2-bert"
    assert "auto_map" not in config


def test_weights_are_halves_that_load_as_floats(config: dict[str, Any]) -> None:
    with safe_open(starter_model_path() / "model.safetensors", framework="numpy") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118

    assert kinds == {"F16"}
    assert config["dtype"] == "float32"


def test_alphabet_fits_the_head(config: dict[str, Any]) -> None:
    vocabulary = json.loads((starter_model_path() / "vocab.json").read_text(encoding="utf-8"))

    assert sorted(vocabulary.values()) == list(range(config["vocab_size"]))
    assert vocabulary["<pad>"] == config["pad_token_id"]
    assert set("abcdefghijklmnopqrstuvwxyz'|") <= set(vocabulary)


def test_ears_fit_the_model(config: dict[str, Any]) -> None:
    processor = json.loads((starter_model_path() / "processor_config.json").read_text(encoding="utf-8"))
    ears = processor["feature_extractor"]

    assert ears["sampling_rate"] == 16_000
    assert ears["num_mel_bins"] * ears["stride"] == config["feature_projection_input_dim"]


def test_card_states_licence_and_figures() -> None:
    card = (starter_model_path() / "README.md").read_text(encoding="utf-8")

    assert f"license: {STARTER_MODEL.licence.lower()}" in card
    assert "synthetic speech" in card
    assert "word error rate" in card


def test_catalog_imports_nothing_heavy(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; import qlora_studio.examples.catalog as c; "
        "assert c.example_dataset_path().is_dir() and c.starter_model_path().is_dir(); "
        "print(sorted({'torch', 'transformers', 'soundfile', 'numpy', 'sqlmodel'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )

    assert done.stdout.strip() == "[]"
