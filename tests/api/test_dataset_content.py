"""Report, exclusions, splits, versions and export through REST, and what strangers and nonsense get."""

import io
import json
import zipfile

from qlora_studio.api.security import current_user
from tests.api.test_datasets import api, client, create, ready, send  # noqa: F401
from tests.ingest import sounds


def test_from_report_to_exclusion_and_back(client):  # noqa: F811
    dataset = create(client)
    same = sounds.wav(0.5)
    files = {"a.wav": same, "b.wav": same, "c.wav": sounds.wav(0.5, pitch=330)}
    table = b"file_name,text\na.wav,one\nb.wav,two\nc.wav,three\n"
    for name, content in (files | {"metadata.csv": table}).items():
        send(client, dataset["id"], name, content)
    client.post(f"/datasets/{dataset['id']}/ingest")
    base = f"/datasets/{dataset['id']}"
    report = client.get(f"{base}/report").json()
    assert report["is_current"]
    check = next(c for c in report["checks"] if c["key"] == "duplicate_audio")
    assert (check["n_clips"], check["n_groups"], check["n_to_leave_out"]) == (2, 1, 1)
    page = client.get(f"{base}/clips", params={"check": "duplicate_audio", "sort": "group"}).json()
    assert [clip["id"] for clip in page["items"]] == check["clip_ids"]
    assert {f["check"] for f in page["items"][0]["findings"]} == {"duplicate_audio"}
    made = [client.post(f"{base}/exclusions", json={"check": "duplicate_audio"}) for _ in range(2)]
    assert [answer.status_code for answer in made] == [200, 200]
    assert made[0].json() == made[1].json()
    assert client.get(f"{base}/exclusions").json()["items"] == [made[0].json()]
    exclusion = f"{base}/exclusions/{made[0].json()['id']}"
    assert client.delete(exclusion).json() == {"n_clips": 1}
    assert client.delete(exclusion).json() == {"n_clips": 0}
    assert client.get(base).json()["n_clips"] == 3
    strict = client.patch(f"{base}/checks", json={"min_duration_s": 0.6}).json()
    assert next(c for c in strict["checks"] if c["key"] == "too_short")["n_clips"] == 3
    refused = client.post(f"{base}/exclusions", json={"check": "too_short"})
    assert (refused.status_code, refused.json()["title"]) == (409, "Conflict")


def test_a_split_is_shown_then_used(client, ready):  # noqa: F811
    base, body = f"/datasets/{ready['id']}", {"ratios": {"train": 0.34, "validation": 0.66}, "seed": 4}
    shown = client.post(f"{base}/splits", params={"preview": 1}, json=body).json()
    assert shown["splits"]["validation"]["n_clips"] == 2
    assert client.get(base).json()["version"] == 1
    assert client.post(f"{base}/splits", json=body).json()["version"] == 2
    held_out = client.get(f"{base}/clips", params={"split": "validation"}).json()
    assert held_out["total"] == 2


def test_versions_are_listed_compared_and_restored(client, ready):  # noqa: F811
    base = f"/datasets/{ready['id']}"
    clip = client.get(f"{base}/clips").json()["items"][0]
    client.patch(f"/clips/{clip['id']}", json={"text": "better"})
    found = client.get(f"{base}/versions").json()
    assert [(v["number"], v["summary"]) for v in found["items"]] == [(2, "Text of a.wav"), (1, "Taken in")]
    compared = client.get(f"{base}/versions/compare", params={"earlier": 1, "later": 2}).json()
    assert compared["items"] == [
        {"clip_id": clip["id"], "filename": "a.wav", "kind": "changed",
         "before": {"text": "one"}, "after": {"text": "better"}}
    ]  # fmt: skip
    restored = client.post(f"{base}/versions/1/restore").json()
    assert (restored["version"], restored["content_hash"]) == (3, ready["content_hash"])
    assert client.post(f"{base}/versions/9/restore").status_code == 404


def test_an_export_is_a_download(client, ready):  # noqa: F811
    base = f"/datasets/{ready['id']}/export"
    answer = client.post(base, json={"format": "audiofolder"})
    assert answer.headers["content-disposition"] == 'attachment; filename="Calls-v1.zip"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
    link = client.get(base, params={"format": "jsonl", "version": 1})
    assert len([json.loads(line) for line in link.text.splitlines()]) == 3
    assert client.get(f"{base}/recipe").json()["command"].endswith("qlora-studio train Calls-v1.yaml")


def test_a_stranger_gets_404_everywhere(client, api, ready, stranger):  # noqa: F811
    api.dependency_overrides[current_user] = lambda: stranger
    base = f"/datasets/{ready['id']}"
    for verb, path, body in (
        ("GET", "report", None), ("PATCH", "checks", {"min_duration_s": 1}), ("GET", "exclusions", None),
        ("POST", "exclusions", {"check": "silent"}), ("POST", "exclusions", {"clip_ids": ["x"]}),
        ("DELETE", "exclusions/excl_000000000000", None), ("GET", "versions", None),
        ("POST", "splits?preview=1", {"ratios": {"train": 1.0}}),
        ("GET", "versions/compare?earlier=1&later=1", None), ("POST", "versions/1/restore", None),
        ("POST", "export", {}), ("GET", "export", None), ("GET", "export/recipe", None),
        ("GET", "clips?check=silent", None),
    ):  # fmt: skip
        assert client.request(verb, f"{base}/{path}", json=body).status_code == 404, (verb, path)


def test_nonsense_is_refused(client, ready):  # noqa: F811
    base = f"/datasets/{ready['id']}"
    for verb, path, body in (
        ("PATCH", "checks", {"min_duration_s": -1}), ("PATCH", "checks", {"colour": 1}),
        ("PATCH", "checks", {"min_duration_s": "x"}), ("PATCH", "checks", [1]),
        ("PATCH", "checks", {f"k{i}": 1 for i in range(500)}),
        ("POST", "exclusions", {}), ("POST", "exclusions", {"check": "silent", "clip_ids": ["x"]}),
        ("POST", "exclusions", {"clip_ids": []}), ("POST", "exclusions", {"clip_ids": ["x"] * 10_001}),
        ("POST", "exclusions", {"check": "nonsense"}), ("POST", "splits", {"ratios": {"train": 5}}),
        ("POST", "splits", {"ratios": {"train": 1}, "seed": -1}), ("POST", "export", {"format": "exe"}),
        ("POST", "export", {"version": 0}), ("GET", "export?format=exe", None),
        ("GET", "versions/compare?earlier=1", None), ("GET", "versions?page_size=1000", None),
        ("GET", f"clips?check={'x' * 41}", None), ("GET", "clips?sort=group", None),
    ):  # fmt: skip
        assert client.request(verb, f"{base}/{path}", json=body).status_code == 422, (verb, path)
