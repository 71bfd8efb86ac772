"""Credentials go in, are used by their owner's datasets, and never come out."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError
from sqlmodel import select

from qlora_studio.contracts.enums import Role
from qlora_studio.core.errors import Forbidden, NotFound, TooLarge
from qlora_studio.db import engine
from qlora_studio.db.models import AuditEvent
from qlora_studio.db.models.dataset import Credential
from qlora_studio.ingest.credentials import scrubbed, unlock
from qlora_studio.ingest.refusal import SourceRefused
from qlora_studio.services import credentials
from tests.conftest import make_user

SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
S3 = {"kind": "s3", "name": "Lab", "key": "AKIAEXAMPLE", "secret": SECRET}
SERVICE_ACCOUNT = {
    "type": "service_account", "client_email": "a@b.iam", "private_key": "-----BEGIN", "token_uri": "http://127.0.0.1",
}  # fmt: skip


def form(**fields):
    return TypeAdapter(credentials.CredentialCreate).validate_python(fields)


def create(user, **fields) -> Credential:
    with engine.write() as session:
        return credentials.create(session, actor=user, form=form(**fields))


def test_what_it_holds_is_on_disk_only_sealed(user, data_folder):
    made = create(user, **S3, region="eu-central-1")
    assert unlock(made.id, owner_id=user.id, kind="s3") == {
        "key": "AKIAEXAMPLE", "secret": SECRET, "region": "eu-central-1",
    }  # fmt: skip
    for path in data_folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    with engine.read() as session:
        said = [f"{e.object_name}{e.details}" for e in session.exec(select(AuditEvent))]
        assert said == ["Lab{}"]
    assert SECRET not in repr(form(**S3)) + str(form(**S3).model_dump_json())


def test_strangers_find_nothing(user, stranger):
    made = create(user, **S3)
    with engine.write() as session:
        assert credentials.list_credentials(session, actor=stranger) == []
        for call in (credentials.get_credential, credentials.delete):
            with pytest.raises(NotFound):
                call(session, actor=stranger, credential_id=made.id)
    for owner_id, kind in ((stranger.id, "s3"), (user.id, "hub")):
        with pytest.raises(SourceRefused):
            unlock(made.id, owner_id=owner_id, kind=kind)


def test_a_deleted_one_is_gone(user):
    made = create(user, **S3)
    with engine.write() as session:
        credentials.delete(session, actor=user, credential_id=made.id)
    with pytest.raises(SourceRefused, match="Choose another"):
        unlock(made.id, owner_id=user.id, kind="s3")


def test_they_are_listed_by_name_and_kind(user):
    create(user, **S3)
    create(user, kind="hub", name="a token", token="hf_token")
    with engine.read() as session:
        assert [c.name for c in credentials.list_credentials(session, actor=user)] == ["a token", "Lab"]
        assert [c.name for c in credentials.list_credentials(session, actor=user, kind="s3")] == ["Lab"]


def test_of_a_service_account_only_what_is_needed_is_kept(user):
    made = create(user, kind="gs", name="g", service_account=json.dumps(SERVICE_ACCOUNT))
    held = json.loads(unlock(made.id, owner_id=user.id, kind="gs")["service_account"])
    assert set(held) == {"type", "client_email", "private_key"}


@pytest.mark.parametrize(
    "fields",
    [
        {
            "kind": "gs",
            "service_account": '{"type": "external_account", "credential_source": {"file": "/etc/x"}}',
        },
        {"kind": "gs", "service_account": '{"type": "authorized_user", "refresh_token": "x"}'},
        {"kind": "gs", "service_account": "not json"},
        {"kind": "gs", "service_account": "[" * 9000},
        {"kind": "s3", "key": "k"},
        {"kind": "s3", "key": "k", "secret": "s", "region": "../x"},
        {"kind": "s3", "key": "k", "secret": "s", "profile": "default"},
        {"kind": "hub", "token": "two words"},
        {"kind": "hub", "token": "hf_x\r\nX-Header: 1"},
        {"kind": "ftp", "token": "hf_token"},
    ],
)
def test_what_is_no_credential_is_refused(fields):
    with pytest.raises(ValidationError):
        form(name="x", **fields)


def test_roles_and_numbers_have_limits(user, session, monkeypatch):
    viewer = make_user(session, "vera", Role.VIEWER)
    with pytest.raises(Forbidden):
        create(viewer, **S3)
    monkeypatch.setattr(credentials, "MAX_PER_USER", 1)
    create(user, **S3)
    with pytest.raises(TooLarge):
        create(user, **S3)


def test_the_servers_own_keys_are_taken_out_of_the_environment():
    given = {
        "PATH": "/bin", "HF_ENDPOINT": "http://hub", "HF_TOKEN": "t", "HF_TOKEN_PATH": "p",
        "AWS_PROFILE": "x",
        "AWS_ACCESS_KEY_ID": "k", "GOOGLE_APPLICATION_CREDENTIALS": "/k.json", "STORAGE_EMULATOR_HOST": "h",
        "FSSPEC_S3_KEY": "k",
    }  # fmt: skip
    left = scrubbed(given)
    assert {k: v for k, v in left.items() if k in given} == {"PATH": "/bin", "HF_ENDPOINT": "http://hub"}
    assert left["AWS_EC2_METADATA_DISABLED"] == "true"
