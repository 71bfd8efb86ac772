"""Where things are under the data folder.

studio.db                     the database
secret.key                    made at first start, mode 0600
bells/<user id>               empty; its time says when that person's notifications last changed (`core.bell`)
blobs/ab/abcdef…              originals of clips by SHA-256, shared between datasets
staging/<dataset id>/         files received, before they are taken in
spectrograms/abcdef….png      pictures of originals by SHA-256; may be deleted at any time
models/<model id>/            weights that were uploaded or downloaded
trials/<user id>/             clips somebody tries a model on, for an hour
runs/<job id>/                one training run: clips.jsonl, config.yaml, checkpoints/, adapter/, metrics/,
                              tensorboard/, mlflow.json, held-out/ (what the result made of held-out clips)
                              start/ (a copy of the adapter that it starts from, if any)
generations/<generation id>/   takes that a model made of a text: <take id>.wav; .lock while they are made
listening/<test id>.lock      held by whoever has the takes of a listening test made
dictations/<dictation id>.lock  held by whoever has a model write down a dataset's clips
merged/<adapter id>/          an adapter merged into its base model, with merge.json
adapters/<adapter id>/        an adapter that was made elsewhere
pushes/<push id>.lock         held by whoever sends an adapter to the Hub
rehearsals/<id>/              one step of a job being tried; gone when it has ended
rehearsal.slot                fresh while such a step has a slot, or waits for the next one
rehearsal.tried               fresh after such a step: a job that is ready comes before the next one
runs/<job id>/attempt-N/      one attempt: spec.json, events.jsonl, worker.log, stop.json, result.json,
                              exit.json, shim.lock
"""

from pathlib import Path

from qlora_studio.core.settings import get_settings

HELD_OUT = "held-out"
START = "start"
START_FILES = ("adapter_config.json", "adapter_model.safetensors", "qlora_studio.json")


def data_path() -> Path:
    return get_settings().data_path


def blob_path(sha256: str) -> Path:
    """The original bytes with this hash (64 lower-case hexadecimal digits)."""
    if len(sha256) != 64 or any(c not in "0123456789abcdef" for c in sha256):
        raise ValueError("not a SHA-256")
    return data_path() / "blobs" / sha256[:2] / sha256


def spectrogram_path(sha256: str) -> Path:
    """The picture of the original with this hash, made on demand."""
    return data_path() / "spectrograms" / f"{blob_path(sha256).name}.png"


def staging_path(dataset_id: str) -> Path:
    return data_path() / "staging" / dataset_id


def model_path(model_id: str) -> Path:
    return data_path() / "models" / model_id


def trials_path(user_id: str) -> Path:
    return data_path() / "trials" / user_id


def generation_path(generation_id: str) -> Path:
    return data_path() / "generations" / generation_id


def take_path(generation_id: str, take_id: str) -> Path:
    return generation_path(generation_id) / f"{take_id}.wav"


def listening_lock(test_id: str) -> Path:
    return data_path() / "listening" / f"{test_id}.lock"


def dictation_lock_path(dictation_id: str) -> Path:
    return data_path() / "dictations" / f"{dictation_id}.lock"


def merged_path(adapter_id: str) -> Path:
    return data_path() / "merged" / adapter_id


def imported_path(adapter_id: str) -> Path:
    return data_path() / "adapters" / adapter_id


def rehearsal_path(rehearsal_id: str) -> Path:
    return data_path() / "rehearsals" / rehearsal_id


def run_path(job_id: str) -> Path:
    return data_path() / "runs" / job_id


def attempt_path(job_id: str, attempt: int) -> Path:
    return run_path(job_id) / f"attempt-{attempt}"
