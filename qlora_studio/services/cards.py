"""The model card of an adapter: what it is, what it was taught with, how well it does, how to load it.

Made anew whenever an adapter is downloaded or pushed, from the database and what its job wrote beside it,
so that it has the names of today. The front matter is what the Hugging Face Hub reads: only ids that the Hub
itself has are named there as base model or dataset, or it would refuse the card. All that people typed is
written so that neither Markdown nor HTML takes it for its own.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sqlmodel import Session

from qlora_studio.contracts.enums import Task
from qlora_studio.contracts.metrics import METRICS
from qlora_studio.db.models import Adapter, BaseAudioModel, Dataset, Job
from qlora_studio.services.job_reading import read_runtime

_PIPELINES = {
    Task.SPEECH_TO_TEXT: "automatic-speech-recognition",
    Task.AUDIO_CLASSIFICATION: "audio-classification",
    Task.TEXT_TO_AUDIO: "text-to-audio",
}  # the Hub has none for diarization
_LICENSES = frozenset(
    (
        "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bsd bsd-2-clause "
        "bsd-3-clause c-uda cc cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 "
        "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 "
        "cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 "
        "agpl-3.0 mpl-2.0 gemma llama2 llama3 unknown unlicense wtfpl isc zlib"
    ).split()
)  # the ids that the Hub takes; any other is told as “other” with its name
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)
_NOTE = re.compile(r"^\|[^\n]*\|\n\n([^|`#][^\n]*)\n\n```python", re.MULTILINE)
_MARKS = str.maketrans(
    {c: f"\\{c}" for c in "\\`*_{}[]()#+!|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", ":": "&#58;"}
)
_VERDICTS = {"improved": "improved", "no_effect": "no effect", "worse": "worse", "broken": "broken"}


@dataclass(frozen=True)
class _Origin:
    """What an adapter came from; None for what is gone or never was here."""

    adapter: Adapter
    model: BaseAudioModel | None
    dataset: Dataset | None
    job: Job | None
    facts: dict[str, Any]
    written: str  # the card that the job wrote: its note and its example
    is_merged: bool


def make_card(session: Session, *, adapter: Adapter, is_merged: bool = False) -> str:
    """Return an adapter's README.md, or that of the model it was merged into. The caller checks who asks."""
    folder = Path(adapter.path)
    origin = _Origin(
        adapter=adapter,
        model=session.get(BaseAudioModel, adapter.base_model_id),
        dataset=session.get(Dataset, adapter.dataset_id) if adapter.dataset_id else None,
        job=session.get(Job, adapter.job_id) if adapter.job_id else None,
        facts=_read_facts(folder),
        written=_read_text(folder / "README.md"),
        is_merged=is_merged,
    )
    front = yaml.safe_dump(_front_matter(origin), sort_keys=False, allow_unicode=True, width=100)
    parts = [f"# {plain(adapter.name)}", _what(origin), *_sections(origin)]
    return f"---\n{front}---\n" + "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """What somebody typed, on one line, with nothing in it that Markdown or HTML would act on."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split()).translate(_MARKS)


def hub_id(source: dict[str, Any]) -> str:
    """The Hub's id of a model or dataset that came from there, else nothing."""
    return str(source.get("repo_id", "")) if source.get("kind") == "hub" else ""


def read_example(adapter: Adapter) -> str:
    """The code that loads the adapter in plain PEFT, from the card its job wrote; empty if there is none."""
    found = _EXAMPLE.search(_read_text(Path(adapter.path) / "README.md"))
    return found[1].strip() if found else ""


# -- the front matter ----------------------------------------------------------------------------------


def _front_matter(origin: _Origin) -> dict[str, Any]:
    model, dataset = origin.model, origin.dataset
    front: dict[str, Any] = {"library_name": "transformers" if origin.is_merged else "peft"}
    if model is not None:
        if base := hub_id(model.source):
            front |= {
                "base_model": base,
                "base_model_relation": "finetune" if origin.is_merged else "adapter",
            }
        front |= _license(model.license)
        if languages := [code for code in model.languages if _LANGUAGE.fullmatch(code)]:
            front["language"] = languages[:100]
        if model.task in _PIPELINES:
            front["pipeline_tag"] = _PIPELINES[model.task]
    front["tags"] = ["lora", "qlora-studio", *([model.task.value] if model else [])]
    if dataset is not None and (repo := hub_id(dataset.source)):
        front["datasets"] = [repo]
    if model is not None and dataset is not None and (metrics := _metrics(origin)):
        front["model-index"] = [{"name": origin.adapter.name, "results": [_result(model, dataset, metrics)]}]
    return front


def _license(name: str) -> dict[str, str]:
    known = name.strip().lower()
    if not known:
        return {}
    return {"license": known} if known in _LICENSES else {"license": "other", "license_name": name.strip()}


def _result(model: BaseAudioModel, dataset: Dataset, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    kind = _PIPELINES.get(model.task, model.task.value)
    return {
        "task": {"type": kind, "name": model.task.value.replace("-", " ")},
        "dataset": {
            "type": hub_id(dataset.source) or "private",
            "name": f"{dataset.name}, held-out clips",
            "split": "validation",
        },
        "metrics": metrics,
    }


def _metrics(origin: _Origin) -> list[dict[str, Any]]:
    """Each figure twice: with the adapter, and of the base model on the same clips."""
    found: list[dict[str, Any]] = []
    for key, before, after in _figures(origin.adapter):
        name = METRICS[key].short if key in METRICS else key
        found.append({"type": key, "value": after, "name": f"{name} with the adapter"})
        if before is not None:
            found.append({"type": key, "value": before, "name": f"{name} of the base model"})
    return found


def _figures(adapter: Adapter) -> list[tuple[str, float | None, float]]:
    """Key, value before and value after of every figure that is a number."""
    figures: list[tuple[str, float | None, float]] = []
    for key, after in adapter.metrics.items():
        if key != "step" and _is_number(after):
            before = adapter.base_metrics.get(key)
            figures.append((key, before if _is_number(before) else None, after))
    return figures


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# -- the text ------------------------------------------------------------------------------------------


def _what(origin: _Origin) -> str:
    model = origin.model
    base = "a base model that is no longer registered" if model is None else _base_name(model)
    task = f" for {model.task.value.replace('-', ' ')}" if model else ""
    made = "made elsewhere and checked by" if origin.adapter.origin else "trained with"
    if origin.is_merged:
        return f"{base}{task} with a LoRA adapter merged into it, {made} QLoRA Studio."
    return f"LoRA adapter{task} on {base}, {made} QLoRA Studio."


def _base_name(model: BaseAudioModel) -> str:
    repo = hub_id(model.source)
    return f"[{plain(repo)}](https://huggingface.co/{repo})" if repo else plain(model.name)


def _sections(origin: _Origin) -> list[str]:
    return [
        _results(origin),
        _effect(origin),
        _data(origin),
        _parameters(origin),
        _use(origin),
        _limits(origin),
    ]


def _results(origin: _Origin) -> str:
    figures = _figures(origin.adapter)
    if not figures:
        return ""
    clips = origin.facts.get("n_validation")
    where = f"{clips} held-out clips" if isinstance(clips, int) else "held-out clips"
    rows = "\n".join(
        f"| {plain(METRICS[key].name if key in METRICS else key)} | {_cell(before)} | {_cell(after)} |"
        for key, before, after in figures
    )
    note = _NOTE.search(origin.written)
    table = f"## Results\n\n| {where} | base | with adapter |\n|---|---|---|\n{rows}"
    return f"{table}\n\n{note[1]}" if note else table


def _effect(origin: _Origin) -> str:
    certificate = origin.adapter.certificate
    verdict = _VERDICTS.get(str(certificate.get("verdict", "")), "")
    if not verdict:
        return ""
    return f"## Effect certificate\n\n**{verdict}.** {plain(str(certificate.get('sentence', '')))}"


def _data(origin: _Origin) -> str:
    dataset, facts = origin.dataset, origin.facts
    if dataset is None:
        return ""
    repo = hub_id(dataset.source)
    name = f"[{plain(repo)}](https://huggingface.co/datasets/{repo})" if repo else plain(dataset.name)
    lines = [f"Dataset: {name}, version {origin.adapter.dataset_version}."]
    if isinstance(facts.get("n_train"), int):
        hours = facts.get("train_hours")
        lines.append(
            f"Trained on {facts['n_train']} clips" + (f" ({hours:.2f} h)." if _is_number(hours) else ".")
        )
    if (digest := str(facts.get("dataset_hash", ""))) and digest.isalnum():
        lines.append(f"Its content's SHA-256 begins with `{digest[:16]}`.")
    return "## Data\n\n" + " ".join(lines)


def _parameters(origin: _Origin) -> str:
    job = origin.job
    if job is None:
        return ""
    qlora, optimization = job.spec.get("qlora") or {}, job.spec.get("optimization") or {}
    shown = {
        "training": job.training_type.value,
        "steps": origin.facts.get("step"),
        **{
            key: qlora.get(key)
            for key in ("rank", "alpha", "dropout", "target_modules", "bits", "quant_type")
        },
        **{
            key: optimization.get(key)
            for key in ("learning_rate", "scheduler", "batch_size", "gradient_accumulation", "weight_decay")
        },
        **{key: optimization.get(key) for key in ("mode", "seed")},
    }
    rows = [f"| {plain(key.replace('_', ' '))} | {plain(_text(value))} |" for key, value in shown.items()
            if value is not None]  # fmt: skip
    versions = read_runtime(job).versions
    made_with = ", ".join(f"{plain(name)} {plain(version)}" for name, version in sorted(versions.items()))
    table = "\n".join(["## How it was trained", "", "| parameter | value |", "|---|---|", *rows])
    return f"{table}\n\nMade with {made_with}." if made_with else table


def _use(origin: _Origin) -> str:
    if origin.is_merged:
        return "## Use it\n\nGive the repository to `from_pretrained` of the model's class in transformers."
    example = read_example(origin.adapter)
    if not example:
        return ""
    repo = hub_id(origin.model.source) if origin.model else ""
    if repo:
        example = re.sub(r'"path/to/(?!this/folder")[^"\n]*"', lambda _: json.dumps(repo), example)
    return f"## Use it in plain PEFT\n\n```python\n{example}\n```"


def _limits(origin: _Origin) -> str:
    model, qlora = origin.model, (origin.job.spec.get("qlora") or {} if origin.job else {})
    lines: list[str] = []
    if not origin.is_merged:
        digest = origin.adapter.base_model_hash
        known = f" (its content's hash begins with `{digest[:16]}`)" if digest.isalnum() else ""
        lines.append(f"It fits its base model only{known}.")
    if qlora.get("bits") == 4:
        lines.append(
            "It was trained on the base in 4 bits. In full precision, outputs may differ from those measured."
        )
    if origin.adapter.metrics:
        lines.append(
            "The figures are of held-out clips of the same dataset. How it does on other speakers, rooms or "
            "devices was not measured."
        )
    if model is not None and model.license:
        lines.append(f"The base model's licence ({plain(model.license)}) holds for what is made with it.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / "qlora_studio.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
