"""The sanity probe: what it has to catch, what it has to let pass, and that it leaves no trace."""

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
import torch

from qlora_studio import examples
from qlora_studio.contracts.enums import ExitReason, Split, TrainingType
from qlora_studio.contracts.probe import GradientReach, OverfitTry, ProbeReport
from qlora_studio.contracts.spec import ClipItem, WorkerSpec
from qlora_studio.training import families, models, probe
from qlora_studio.training.feature_store import FeatureStore
from qlora_studio.training.probe import Prober, gradient_reach
from qlora_studio.training.probe_findings import judge
from tests.training import melodies, tiny, tones, voices
from tests.training.running import adapter_bytes, losses, run

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:Support for mismatched key_padding_mask"
)
EXAMPLES = Path(examples.__file__).parent
GOOD_RATE = 0.03  # summed over the steps of an ordinary small job


def _prepared(
    spec: WorkerSpec, *, change: Callable[[families.Family], families.Family] = lambda family: family
) -> tuple[Any, Any, list[ClipItem]]:
    """(task, model with a fresh adapter, training clips)"""
    config = families.read_config(spec.model_path)
    family = change(families.family_of(config, spec.task))
    models.seed_everything(0)
    task = models.make_task(spec, family, config)
    base = models.load_base(spec, family, "cpu")
    clips = task.read_clips(spec.clips_path)
    task.prepare(base, clips)
    return task, models.make_trainable(base, spec, family), clips.train


def _probe(task: Any, model: Any, clips: list[ClipItem], *, reach: float = GOOD_RATE) -> ProbeReport:
    prober = Prober(
        task, FeatureStore(task), clips, batch_size=4, is_checkpointed=False, reach=reach, check=lambda: None
    )
    return prober.probe(model)


def _prompts(folder: Path, *, slipped_by: int = 0, n_clips: int = 32) -> Path:
    """Real speech, each clip with the text of the clip so many rows further on; returns `clips.jsonl`."""
    root = EXAMPLES / "prompts-en"
    with (root / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))[:n_clips]
    clips = [
        ClipItem(
            id=f"clip_{index}",
            path=str(root / row["file_name"]),
            duration_s=soundfile.info(root / row["file_name"]).duration,
            text=rows[(index + slipped_by) % n_clips]["text"],
            split=Split.VALIDATION if index % 5 == 4 else Split.TRAIN,
        )
        for index, row in enumerate(rows)
    ]
    return tones.write_listing(folder / "clips.jsonl", clips)


def test_running_statistics_are_put_back() -> None:
    model = torch.nn.BatchNorm1d(3)
    with probe._statistics_put_back(model):
        model(torch.randn(8, 3) + 5)
    assert torch.equal(model.running_mean, torch.zeros(3))
    assert int(model.num_batches_tracked) == 0


# Good jobs pass


@pytest.mark.slow
@pytest.mark.parametrize("family", [*tones.MAKERS, "whisper-text", "ctc", "musicgen", "speecht5", "speakers"])
def test_a_good_job_of_every_family_passes(family: str, tmp_path: Path) -> None:
    if family == "musicgen":
        listing = melodies.write_melodies(tmp_path / "clips")
        spec = melodies.make_spec(tmp_path, melodies.make_musicgen(tmp_path / "model"), listing)
    elif family == "speecht5":
        listing = melodies.write_melodies(tmp_path / "clips")
        spec = melodies.make_spec(tmp_path, melodies.make_speecht5(tmp_path / "model"), listing)
    elif family == "speakers":
        model_path = tones.MAKERS["wav2vec2"](tmp_path / "model")
        spec = voices.make_spec(tmp_path, model_path, voices.write_voices(tmp_path / "clips"))
    elif family in tones.MAKERS:
        listing = tones.write_tones(tmp_path / "clips")
        spec = tones.make_spec(tmp_path, tones.MAKERS[family](tmp_path / "model"), listing)
    else:
        make = tiny.make_whisper if family == "whisper-text" else tiny.make_wav2vec2_bert
        spec = tiny.make_spec(tmp_path, make(tmp_path / "model"), tiny.write_clips(tmp_path / "clips"))
    task, model, clips = _prepared(spec)
    found = _probe(task, model, clips)
    assert (found.status, found.findings) == ("passed", [])
    assert found.gradient is not None
    assert found.gradient.n_missed == 0
    assert found.overfit is not None
    assert found.overfit.is_clear
    if found.expected is not None and family != "whisper":  # its fresh head gets large inputs
        assert found.first_loss == pytest.approx(found.expected, rel=0.25)
    assert found.seconds < 60


@pytest.mark.slow
@pytest.mark.parametrize("slipped_by", [0, 1, -1])
def test_texts_that_slipped_by_one_row_are_found_where_the_base_can_hear(
    slipped_by: int, tmp_path: Path
) -> None:
    listing = _prompts(tmp_path, slipped_by=slipped_by)
    found = _probe(*_prepared(tiny.make_spec(tmp_path, EXAMPLES / "starter-asr", listing)))
    assert found.slip is not None
    assert found.slip.verdict == {0: "", 1: "previous", -1: "following"}[slipped_by]
    assert found.status == ("doubtful" if slipped_by else "passed")
    assert found.overfit is not None
    assert found.overfit.is_clear  # wrong texts can be learnt by heart, so this alone would not tell


@pytest.mark.slow
def test_labels_that_slipped_by_one_character_are_refused(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    task, model, clips = _prepared(tiny.make_spec(tmp_path, ctc_path, clips_path))
    right = task.encode
    task.encode = lambda target: [index + 1 for index in right(target)]
    found = _probe(task, model, clips)
    assert found.status == "failed"
    assert "read back" in found.sentence


# Targets that no gradient reaches


@pytest.mark.slow
def test_frozen_out_targets_are_named(tmp_path: Path) -> None:
    """WavLM's attention reads its weights directly: LoRA on it gets no gradient."""
    listing = tones.write_tones(tmp_path / "clips")
    qlora = {"bits": 32, "target_modules": ["q_proj", "v_proj", "intermediate_dense"]}
    spec = tones.make_spec(
        tmp_path, tones.MAKERS["wavlm"](tmp_path / "model"), listing, training_type="lora", qlora=qlora
    )
    task, model, clips = _prepared(spec, change=lambda family: replace(family, untouchable=()))
    found = _probe(task, model, clips)
    assert found.status == "doubtful"
    assert found.gradient is not None
    assert found.gradient.n_missed == 4  # two in each of two layers
    assert all(name.endswith(("q_proj", "v_proj")) for name in found.gradient.missed)
    assert "Leave them out" in found.sentence


def test_what_stands_for_masked_frames_needs_no_gradient(
    tmp_path: Path, clips_path: Path, ctc_path: Path
) -> None:
    spec = tiny.make_spec(tmp_path, ctc_path, clips_path, training_type=TrainingType.PRETRAINING)
    task, model, clips = _prepared(spec)
    model.config.mask_time_prob = 0.05
    model.wav2vec2_bert.masked_spec_embed = torch.nn.Parameter(torch.rand(model.config.hidden_size))
    found = _probe(task, model, clips)
    assert found.gradient is not None
    assert found.gradient.n_missed == 0


@pytest.mark.slow
def test_a_gradient_that_reaches_nothing_ends_the_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from qlora_studio.training.tasks.classification import ClassificationTask

    def cut_off(self: Any, model: Any, batch: Any) -> torch.Tensor:
        return model(**batch).loss.detach()

    monkeypatch.setattr(ClassificationTask, "steady_loss", cut_off)
    listing = tones.write_tones(tmp_path / "clips")
    spec = tones.make_spec(
        tmp_path, tones.MAKERS["wavlm"](tmp_path / "model"), listing, evaluation={"probe": True}
    )
    result = run(spec)
    assert result.reason is ExitReason.MODEL_LOAD
    assert "No gradient" in result.message
    (event,) = tiny.read_events(spec, "probe")
    assert event["status"] == "failed"
    assert losses(spec) == []


# The layout of labels


class _Codebooks(torch.nn.Module):
    """A stand-in for a trained MusicGen: of each codebook it knows which codes are likely."""

    n_codebooks, size = 4, 64

    def __init__(self) -> None:
        super().__init__()
        codes = torch.arange(self.size)
        likely = codes[None, :] % self.n_codebooks == torch.arange(self.n_codebooks)[:, None]
        self.known = torch.nn.Parameter(6.0 * likely, requires_grad=False)
        self.learnt = torch.nn.Parameter(torch.zeros(self.n_codebooks, self.size))

    device = torch.device("cpu")

    def forward(self, labels: torch.Tensor) -> Any:
        logits = (self.known + self.learnt).expand(*labels.shape, self.size)
        return SimpleNamespace(loss=torch.nn.functional.cross_entropy(logits.movedim(-1, 1), labels))


class _CodesTask:
    """Clips of codes: (time, codebooks), likely ones only; `is_transposed` confuses the two axes."""

    can_swap_targets = False

    def __init__(self, *, is_transposed: bool) -> None:
        self._is_transposed = is_transposed

    def labels(self, clip: ClipItem) -> torch.Tensor:
        rng = torch.Generator().manual_seed(int(clip.id))
        codes = 4 * torch.randint(0, 16, (4, 4), generator=rng) + torch.arange(4)[None, :]
        return codes.T if self._is_transposed else codes

    def target(self, clip: ClipItem) -> str:
        return clip.id

    def decode(self, _ids: Any) -> None:
        return None

    def fit_target(self, target: str) -> str:
        return target

    def expected_first_loss(self) -> None:
        return None

    def chance_loss(self) -> float:
        return math.log(_Codebooks.size)

    def steady_loss(self, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        return model(**batch).loss


@pytest.mark.parametrize("is_transposed", [False, True])
def test_transposed_codebooks_are_refused(is_transposed: bool) -> None:
    task = _CodesTask(is_transposed=is_transposed)
    store = SimpleNamespace(
        labels=task.labels, batch=lambda clips: {"labels": torch.stack([task.labels(c) for c in clips])}
    )
    clips = [ClipItem(id=str(i), path="", duration_s=1.0, split=Split.TRAIN) for i in range(8)]
    prober = Prober(
        task,  # type: ignore[arg-type]
        store,  # type: ignore[arg-type]
        clips,
        batch_size=4,
        is_checkpointed=False,
        reach=GOOD_RATE,
        check=lambda: None,
    )
    found = prober.probe(_Codebooks())
    assert found.status == ("failed" if is_transposed else "passed"), found
    if is_transposed:
        assert "layout" in found.sentence


# Figures and what they mean


def _report(**figures: Any) -> ProbeReport:
    gradient = GradientReach(n_layers=4, n_missed=0)
    return ProbeReport(**{"first_loss": 1.1, "gradient": gradient, **figures})


@pytest.mark.parametrize(
    ("figures", "reach", "status", "word"),
    [
        ({"expected": 1.1}, GOOD_RATE, "passed", "First loss 1.10 (expected 1.10)"),
        ({"first_loss": None}, GOOD_RATE, "failed", "not a number"),
        ({"first_loss": 9.0, "chance": 4.2}, GOOD_RATE, "failed", "layout"),
        ({"first_loss": 0.2, "expected": 1.1}, GOOD_RATE, "doubtful", "visible"),
        ({"first_loss": 5.0, "expected": 1.1}, GOOD_RATE, "doubtful", "expected"),
        ({"train_loss": 6.0, "base_loss": 0.5}, GOOD_RATE, "doubtful", "held-out"),
        # the embedded example: its first batch is of single letters, its held-out clips are sentences
        ({"first_loss": 11.37, "train_loss": 1.9, "base_loss": 1.85}, GOOD_RATE, "passed", "fit as held-out"),
        (
            {"overfit": OverfitTry(before=1.1, after=1.08, steps=10, learning_rate=0.05, is_clear=False)},
            GOOD_RATE,
            "doubtful",
            "by heart",
        ),
        (
            {"overfit": OverfitTry(before=1.1, after=1.0, steps=2, learning_rate=0.05, is_clear=None)},
            GOOD_RATE,
            "passed",
            "in 2 steps",
        ),
        (
            {"overfit": OverfitTry(before=1.1, after=0.2, steps=3, learning_rate=2e-3, is_clear=True)},
            1e-12,
            "doubtful",
            "learning rate is too small",
        ),
    ],
)
def test_figures_become_sentences(figures: dict[str, Any], reach: float, status: str, word: str) -> None:
    found = judge(_report(**figures), reach=reach)
    assert found.status == status
    assert word in found.sentence


def test_a_fresh_adapter_is_reached_although_half_of_its_gradients_are_zero() -> None:
    layer = torch.nn.ModuleDict({"lora_A": torch.nn.Linear(4, 2), "lora_B": torch.nn.Linear(2, 4)})
    torch.nn.init.zeros_(layer["lora_B"].weight)
    model = torch.nn.ModuleDict({"q_proj": layer, "k_proj": torch.nn.Linear(4, 4)})
    layer["lora_B"](layer["lora_A"](torch.ones(1, 4))).sum().backward()
    found = gradient_reach(model)
    assert (found.n_layers, found.missed) == (2, ["k_proj"])


# No trace


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ctc", "whisper", "wavlm"])
def test_a_job_with_the_probe_gives_the_same_bytes_as_one_without(
    family: str, tmp_path: Path, clips_path: Path, ctc_path: Path, whisper_path: Path
) -> None:
    def spec(name: str, *, probe: bool) -> WorkerSpec:
        settings: dict[str, Any] = {"qlora": {"dropout": 0.1}, "evaluation": {"probe": probe}}
        if family == "wavlm":
            listing = tones.write_tones(tmp_path / "clips")
            model = tones.MAKERS["wavlm"](tmp_path / "model")
            return tones.make_spec(tmp_path / name, model, listing, **settings)
        model = ctc_path if family == "ctc" else whisper_path
        return tiny.make_spec(tmp_path / name, model, clips_path, **settings)

    without, with_it = spec("without", probe=False), spec("with", probe=True)
    assert run(without).extra.get("probe") is None
    result = run(with_it)
    assert result.extra["probe"]["status"] in ("passed", "doubtful")
    assert len(tiny.read_events(with_it, "probe")) == 1
    assert losses(with_it) == losses(without)
    assert adapter_bytes(with_it) == adapter_bytes(without)
