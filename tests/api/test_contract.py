"""The contract that clients are written against, row by row, over the OpenAPI description.

Paths, methods, names of fields and statuses stand as written here; the description may name more.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from qlora_studio.api import build_api
from tests.api.described import names, operations, taken

LIST = "query sort page page_size"
PAGE = "items total page page_size"
ALWAYS = "400 401 403"  # of whoever has to be signed in; 403: the role does not reach, or a foreign origin
ONE, MAKE = f"{ALWAYS} 404", f"{ALWAYS} 409 413 422"
CHANGE = f"{ONE} 409 413 422"
DO, DELETE = f"{ONE} 409", f"204 {ONE} 409"
USER = "id username email role"
DATASET = "id name task status n_clips n_excluded duration_s size_bytes version content_hash error"
MODEL = "id task architecture n_parameters size_bytes sample_rate lora_targets status error"
JOB = (
    "id status reason message"
    " progress.step progress.total_steps progress.epoch progress.percent progress.eta_s"
    " metrics.last metrics.best attempt pid adapter_id created_at started_at finished_at"
)
ADAPTER = "id base_model_id job_id dataset_version metrics stage is_active certificate.verdict size_bytes"
SPEC = (
    "name dataset_id model_id training_type after_job_id"
    " qlora.rank qlora.alpha qlora.dropout qlora.target_modules qlora.bits qlora.quant_type"
    " qlora.double_quant qlora.compute_dtype"
    " optimization.learning_rate optimization.batch_size optimization.gradient_accumulation"
    " optimization.epochs optimization.max_steps optimization.scheduler optimization.warmup_ratio"
    " optimization.weight_decay optimization.max_grad_norm optimization.gradient_checkpointing"
    " optimization.seed optimization.mode"
    " evaluation.every_steps evaluation.metric evaluation.early_stopping_patience"
    " evaluation.n_samples evaluation.save_every_steps"
)
GENERATION = "prompt model_id adapter_id strength duration_s seed n_takes guidance temperature"
HEARD = "model_id adapter_id strength"


@dataclass(frozen=True)
class Row:
    """One line of the contract: names separated by spaces, `a.b` for a field inside another one."""

    method: str
    path: str
    takes: str = ""
    answers: str = ""
    statuses: str = ""
    media_type: str = "application/json"


ROWS = [
    Row("POST", "/auth/signup", "username email password", USER, "201 409 422 429"),
    Row("POST", "/auth/login", "login password", "token expires_at user.id", "200 401 422 429"),
    Row("POST", "/auth/logout", statuses="204"),
    Row("GET", "/me", answers=USER, statuses="200 401"),
    Row("GET", "/datasets", f"{LIST} status", f"{PAGE} items.id", f"200 {ALWAYS} 422"),
    Row("POST", "/datasets", "name description task source mapping", DATASET, f"201 {MAKE}"),
    Row("PUT", "/datasets/{id}/files/{filename}", "Content-Range", "received", f"201 {CHANGE} 507"),
    Row("POST", "/datasets/{id}/ingest", "", DATASET, f"202 {DO}"),
    Row("GET", "/datasets/{id}", "", DATASET, f"200 {ONE}"),
    Row("PATCH", "/datasets/{id}", "name description", DATASET, f"200 {CHANGE}"),
    Row("DELETE", "/datasets/{id}", statuses=DELETE),
    Row(
        "GET",
        "/datasets/{id}/clips",
        f"{LIST} status split label",
        f"{PAGE} items.id items.filename items.duration_s items.sample_rate items.text items.label"
        " items.speaker items.split items.status items.reason",
        f"200 {ONE} 422",
    ),
    Row("GET", "/datasets/{id}/report", "", "checks.key checks.n_clips", f"200 {ONE} 409"),
    Row("POST", "/datasets/{id}/splits", "ratios seed", "", f"200 {CHANGE}"),
    Row("POST", "/datasets/{id}/exclusions", "check clip_ids", "id", f"200 {CHANGE}"),
    Row("POST", "/datasets/{id}/export", "format", "", f"200 {CHANGE}", "application/zip"),
    Row("GET", "/clips/{id}/audio", "", "", f"200 206 {ONE} 416", "audio/*"),
    Row("GET", "/clips/{id}/peaks", "", "peaks", f"200 {ONE}"),
    Row("GET", "/clips/{id}/spectrogram", "", "", f"200 {ONE}", "image/png"),
    Row("GET", "/models", f"{LIST} status", f"{PAGE} items.id", f"200 {ALWAYS} 422"),
    Row("POST", "/models", "name description task architecture source", MODEL, f"201 {MAKE}"),
    Row("PUT", "/models/{id}/files/{filename}", "Content-Range", "received", f"201 {CHANGE} 507"),
    Row("POST", "/models/{id}/check", "", MODEL, f"202 {DO}"),
    Row("GET", "/models/{id}", "", MODEL, f"200 {ONE}"),
    Row("PATCH", "/models/{id}", "name description", MODEL, f"200 {CHANGE}"),
    Row("DELETE", "/models/{id}", statuses=DELETE),
    Row("POST", "/jobs/validate", "", "ok errors warnings forecast command yaml", f"200 {ALWAYS} 422"),
    Row("GET", "/jobs", f"{LIST} status", f"{PAGE} items.id", f"200 {ALWAYS} 422"),
    Row("POST", "/jobs", SPEC, JOB, f"201 {MAKE}"),
    Row("GET", "/jobs/{id}", "", JOB, f"200 {ONE}"),
    Row("DELETE", "/jobs/{id}", statuses=DELETE),
    Row("GET", "/jobs/{id}/metrics", "keys from_step to_step max_points", "series", f"200 {ONE} 422"),
    Row("GET", "/jobs/{id}/logs", "tail after level", "lines", f"200 {ONE} 422"),
    Row("GET", "/jobs/{id}/events", "Last-Event-ID", "", f"200 {ONE}", "text/event-stream"),
    Row("POST", "/jobs/{id}/stop", "mode", JOB, f"202 {CHANGE}"),
    Row("POST", "/jobs/{id}/resume", "", JOB, f"202 {DO}"),
    Row("POST", "/jobs/{id}/clone", "", JOB, f"202 {CHANGE}"),
    Row("GET", "/jobs/{id}/results", "", "", f"200 {ONE}", "application/zip"),
    Row("GET", "/adapters", f"{LIST} status", f"{PAGE} items.id", f"200 {ALWAYS} 422"),
    Row("POST", "/adapters", "", ADAPTER, f"201 {MAKE} 404 507"),
    Row("GET", "/adapters/{id}", "", ADAPTER, f"200 {ONE}"),
    Row("PATCH", "/adapters/{id}", "name stage tags notes", ADAPTER, f"200 {CHANGE}"),
    Row("DELETE", "/adapters/{id}", statuses=DELETE),
    Row("POST", "/adapters/{id}/activate", "", ADAPTER, f"200 {DO}"),
    Row("GET", "/adapters/{id}/download", "", "", f"200 {ONE}", "application/zip"),
    Row("POST", "/transcriptions", f"file {HEARD}", "text", f"200 {MAKE} 404 429"),
    Row("POST", "/classifications", f"file {HEARD}", "label", f"200 {MAKE} 404 429"),
    Row("POST", "/diarizations", f"file {HEARD}", "segments.speaker rttm", f"200 {MAKE} 404 429"),
    Row("POST", "/generations", GENERATION, f"id status {GENERATION}", f"202 {MAKE} 429"),
    Row("GET", "/generations", f"{LIST} status", f"{PAGE} items.id", f"200 {ALWAYS} 422"),
    Row("GET", "/generations/{id}", "", f"id status {GENERATION} takes.id", f"200 {ONE}"),
    Row("GET", "/takes/{id}/audio", "", "", f"200 206 {ONE} 416", "audio/wav"),
    Row(
        "PUT", "/takes/{id}/rating", "criterion stars tags note", "criterion stars tags note", f"200 {CHANGE}"
    ),
    Row("GET", "/preferences/next", "", "pair.first.id pair.second.id", f"200 {ALWAYS}"),
    Row("POST", "/preferences", "chosen_id rejected_id tie", "", f"201 {MAKE} 404"),
    Row("GET", "/feedback/stats", "model_id", "", f"200 {ALWAYS} 422"),
    Row("GET", "/feedback/readiness", "model_id", "is_ready", f"200 {ALWAYS} 422"),
    Row("POST", "/datasets/preview", "source", "n_rows", f"200 {ALWAYS} 413 422"),
    Row("GET", "/system", "", "device memory disk queue versions", f"200 {ALWAYS}"),
    Row("GET", "/audit", "query page page_size", f"{PAGE} items.id", f"200 {ALWAYS} 422"),
]

# What a second request could make twice; what each of the others does instead is told beside it.
MADE_ONCE = [
    "/tokens",
    "/datasets",
    "/datasets/{id}/exclusions",
    "/datasets/{id}/dictations",
    "/credentials",
    "/models",
    "/jobs",
    "/jobs/{id}/clone",
    "/sweeps",
    "/adapters/{id}/merge/model",
    "/adapters/{id}/push",
    "/dictations/{id}/dataset",
    "/generations",
    "/prompt-templates",
    "/preferences",
    "/listening-tests",
    "/notification-channels",
]
NOT_TWICE = {
    "/auth/signup": "409: the name is taken; a signed-out request has nobody to keep a key for",
    "/adapters": "takes a file, not a form",
    "/trial-clips": "is forgotten after an hour, and counts for nothing until then",
    "/users/{id}/reset-link": "the former link ends",
}
UNPAGED = {
    "/datasets/{id}/files": "an upload that goes on asks for all it has sent, once",
    "/models/{id}/files": "as for a dataset",
    "/jobs/{id}/samples": "the fixed few clips of one evaluation",
    "/queue": "the whole order, of which a job is moved to another place",
    "/feedback/days": "has `days` for how many",
}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return build_api().openapi()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_the_row_stands_as_written(row: Row, described: dict[str, Any]) -> None:
    operation = operations(described)[row.method, row.path]
    named = {name.lower() for name in taken(operation, described)}
    assert set(row.takes.lower().split()) <= named
    told = operation["responses"]
    assert set(row.statuses.split()) <= set(told)
    success = next(status for status in row.statuses.split() if status.startswith("2"))
    if success != "204":
        assert row.media_type in told[success]["content"]
        schema = told[success]["content"][row.media_type]["schema"]
        assert set(row.answers.split()) <= names(schema, described)


def test_every_refusal_is_a_problem_document(described: dict[str, Any]) -> None:
    for (method, path), operation in operations(described).items():
        for status, answer in operation["responses"].items():
            if status >= "400":
                assert list(answer["content"]) == ["application/problem+json"], (method, path, status)
            if status == "429":
                assert "Retry-After" in answer["headers"], (method, path)
    fields = set(described["components"]["schemas"]["Problem"]["properties"])
    assert fields == {"type", "title", "status", "detail", "errors"}


def test_who_has_to_be_signed_in_is_told(described: dict[str, Any]) -> None:
    public = {key for key, operation in operations(described).items() if "security" not in operation}
    assert public == {
        ("POST", "/auth/signup"),
        ("GET", "/auth/check"),
        ("POST", "/auth/login"),
        ("POST", "/auth/logout"),
        ("POST", "/auth/reset"),
    }


def test_what_creates_takes_an_idempotency_key(described: dict[str, Any]) -> None:
    creating = set()
    for (method, path), operation in operations(described).items():
        takes_key = any(
            parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ())
        )
        assert takes_key == (method == "POST" and path in MADE_ONCE), (method, path)
        if method == "POST" and "201" in operation["responses"]:
            creating.add(path)
    assert creating <= {*MADE_ONCE, *NOT_TWICE}


def test_every_list_is_paged(described: dict[str, Any]) -> None:
    for (method, path), operation in operations(described).items():
        content = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
        if method == "GET" and "items" in names(content.get("schema", {}), described, 0):
            fields = names(content["schema"], described, 0)
            pages = set(PAGE.split()) <= fields and {"page", "page_size"} <= taken(operation, described)
            assert pages == (path not in UNPAGED), path


def test_every_number_in_an_address_has_a_largest(described: dict[str, Any]) -> None:
    unbounded = [
        (path, parameter["name"])
        for (_, path), operation in operations(described).items()
        for parameter in operation.get("parameters", ())
        for form in parameter["schema"].get("anyOf", [parameter["schema"]])
        if form.get("type") == "integer" and "maximum" not in form
    ]
    assert unbounded == [], "the database refuses what its columns can't hold"
