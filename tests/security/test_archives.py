"""H4: archives that lead outside, lie or burst, sent to a running server."""

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.ingest import sounds
from tests.ingest.test_archives import entry
from tests.security.conftest import Lab
from tests.security.uploading import create, settled

pytestmark = pytest.mark.slow
MB = 1 << 20
TRACE = "attack-trace"


@pytest.fixture(scope="module")
def ada(lab: Lab) -> httpx.Client:
    return lab.join("ada-archives")


def link_of(kind: int) -> bytes:
    return entry(f"{TRACE}.wav", b"/etc/passwd", mode=kind | 0o777)


def overlapping() -> bytes:
    content = bytearray(sounds.zipped({f"{TRACE}-{n}.wav": n.encode() * 100 for n in "ab"}))
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    content[second + 42 : second + 46] = struct.pack("<I", 0)
    return bytes(content)


def a_million_entries(*, told: int = 0xFFFF) -> bytes:
    """A directory of a million names of one and the same empty file: 54 MB, and gigabytes once read."""
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 7, 0) + b"0000000"
    head = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    directory = b"".join(head + b"%07d" % i for i in range(1_000_000))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, told, told, len(directory), len(local), 0)
    return local + directory + end


def encrypted() -> bytes:
    content = bytearray(sounds.zipped({f"{TRACE}.wav": b"1"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in (f"{TRACE}-1.wav", f"{TRACE}-2.wav"):
            archive.writestr(name, b"1")
    return buffer.getvalue().replace(f"{TRACE}-2".encode(), f"{TRACE}-1".encode())


def hard_link() -> bytes:
    """A zip knows no hard links; a tar does, and no tar is taken."""
    return tarred(tarfile.LNKTYPE)


def tarred(kind: bytes = tarfile.REGTYPE, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo(f"../../{TRACE}.wav")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return buffer.getvalue()


def tried(what: str, make: Callable[[], bytes], reason: str):
    mark = pytest.mark.attack("H4", what, "refused with the reason, nothing written, quota unchanged")
    return pytest.param(make, reason, id=what, marks=mark)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        tried("a path with ..", lambda: entry(f"../../{TRACE}.wav"), "points outside"),
        tried("a path with ..\\", lambda: entry(f"..\\..\\{TRACE}.wav"), "points outside"),
        tried("an absolute path", lambda: entry(f"/tmp/{TRACE}.wav"), "absolute"),
        tried("a drive's letter", lambda: entry(f"C:\\{TRACE}.wav"), "absolute"),
        tried("a symbolic link", lambda: link_of(stat.S_IFLNK), "symbolic link"),
        tried("a hard link in a tar", hard_link, "tar"),
        tried("a device", lambda: link_of(stat.S_IFCHR), "special file"),
        tried("a pipe", lambda: link_of(stat.S_IFIFO), "special file"),
        tried("a bomb", lambda: sounds.zipped({f"{TRACE}.wav": bytes(150 * MB)}), "zip bombs"),
        tried("entries that overlap", overlapping, "overlap"),
        tried("folders 40 deep", lambda: entry("d/" * 40 + f"{TRACE}.wav"), "nested"),
        tried("a million entries", a_million_entries, "entries"),
        tried("a million entries, said to be one", lambda: a_million_entries(told=1), "entries"),
        tried("an encrypted entry", encrypted, "encrypted"),
        tried("the same name twice", twice, "same name"),
        tried(
            "names that differ by case",
            lambda: sounds.zipped({f"{TRACE}.wav": b"1", f"{TRACE}.WAV": b"2"}),
            "same name",
        ),
        tried("a zip in a zip", lambda: sounds.zipped({"a.wav": sounds.zipped({"b.wav": b"1"})}), "another"),
        tried("a tar", tarred, "tar"),
        tried("a tar.gz", lambda: tarred(mode="w:gz"), "gzip"),
    ],
)
def test_a_hostile_archive_is_refused_whole(
    lab: Lab, ada: httpx.Client, make: Callable[[], bytes], reason: str
) -> None:
    dataset_id, held, before = create(ada), lab.held_bytes("ada-archives"), lab.peak_memory()
    ada.put(f"/datasets/{dataset_id}/files/set.zip", content=make()).raise_for_status()
    ada.post(f"/datasets/{dataset_id}/ingest").raise_for_status()
    dataset = settled(ada, dataset_id)
    assert (dataset["status"], dataset["n_clips"]) == ("error", 0)
    told = [clip["reason"] for clip in ada.get(f"/datasets/{dataset_id}/clips").json()["items"]]
    assert len(told) == 1
    assert reason in told[0]
    assert lab.peak_memory() - before < 200 * MB
    assert [p for p in lab.server.data_path.parent.rglob("*") if TRACE in p.name] == []
    assert not Path(f"/tmp/{TRACE}.wav").exists()
    ada.delete(f"/datasets/{dataset_id}").raise_for_status()
    assert lab.held_bytes("ada-archives") == held
