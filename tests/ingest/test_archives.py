"""The zip extractor: takes honest archives whole, refuses the others whole and with a reason."""

import io
import stat
import struct
import tarfile
import zipfile

import pytest

from qlora_studio.ingest import archives
from qlora_studio.ingest.archives import ArchiveLimits, ArchiveRefused
from qlora_studio.ingest.names import staged_name
from tests.ingest.sounds import zipped

LIMITS = ArchiveLimits(max_total_bytes=10 << 20, max_file_bytes=5 << 20, max_entries=100)


def extract(tmp_path, content, *, limits=LIMITS, free_bytes=None):
    path, folder = tmp_path / "a.zip", tmp_path / "out"
    path.write_bytes(content)
    folder.mkdir(exist_ok=True)
    try:
        return archives.extract(
            path, lambda name: folder / staged_name(name), limits=limits, free_bytes=free_bytes
        )
    finally:
        outside = {p.name for p in tmp_path.iterdir()} - {"a.zip", "out"}
        assert not outside, "written outside the folder"


def refused(tmp_path, content, **options) -> str:
    with pytest.raises(ArchiveRefused) as refusal:
        extract(tmp_path, content, **options)
    assert list((tmp_path / "out").iterdir()) == [], "something was left behind"
    return str(refusal.value)


def entry(name: str, content: bytes = b"x", *, mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("placeholder")
        info.filename = info.orig_filename = name
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return buffer.getvalue()


def test_takes_an_honest_archive_and_drops_what_a_mac_added(tmp_path):
    content = zipped(
        {"set/a.wav": b"1", "set/b/c.wav": b"2", "__MACOSX/set/._a.wav": b"junk", "set/.DS_Store": b"j"}
    )
    written = extract(tmp_path, content)
    assert {name: path.read_bytes() for name, path in written} == {"a.wav": b"1", "b/c.wav": b"2"}


def test_keeps_folders_when_there_is_more_than_one(tmp_path):
    names = [name for name, _ in extract(tmp_path, zipped({"dog/1.wav": b"1", "cat/1.wav": b"2"}))]
    assert sorted(names) == ["cat/1.wav", "dog/1.wav"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.wav", "points outside"),
        ("a/../../evil.wav", "points outside"),
        ("..\\evil.wav", "points outside"),
        ("/etc/evil.wav", "absolute"),
        ("\\evil.wav", "absolute"),
        ("C:\\evil.wav", "absolute"),
        ("/".join("d" * 40) + "/e.wav", "nested"),
    ],
)
def test_refuses_paths_that_lead_elsewhere(tmp_path, name, reason):
    assert reason in refused(tmp_path, entry(name))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_refuses_links_and_devices(tmp_path, kind):
    assert "An entry is a" in refused(tmp_path, entry("link", b"/etc/passwd", mode=kind | 0o777))


def test_refuses_a_bomb_by_its_directory(tmp_path):
    content = zipped({"zeros.wav": bytes(70 << 20)})
    limits = ArchiveLimits(max_total_bytes=1 << 30, max_file_bytes=1 << 30, max_entries=10)
    assert "zip bombs" in refused(tmp_path, content, limits=limits)
    assert "at most" in refused(tmp_path, content)


def test_refuses_an_entry_that_is_larger_than_it_says(tmp_path):
    content = bytearray(zipped({"a.wav": bytes(3 << 20)}))
    central = content.index(b"PK\x01\x02")
    for at in (central + 24, content.index(b"PK\x03\x04") + 22):
        content[at : at + 4] = struct.pack("<I", 10)
    assert "An entry is" in refused(tmp_path, bytes(content))


def test_refuses_overlapping_entries(tmp_path):
    content = bytearray(zipped({"a.wav": b"1" * 100, "b.wav": b"2" * 100}))
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    content[second + 42 : second + 46] = struct.pack("<I", 0)
    assert "overlap" in refused(tmp_path, bytes(content))


def test_refuses_too_many_entries(tmp_path):
    assert "entries" in refused(tmp_path, zipped({f"{i}.wav": b"" for i in range(101)}))


@pytest.mark.parametrize("hidden", [False, True])
def test_refuses_a_directory_that_would_fill_the_memory_before_it_is_read(tmp_path, monkeypatch, hidden):
    content = bytearray(many := zipped({f"{i}.wav": b"" for i in range(101)}))
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("the directory was read"))
    end = content.rindex(b"PK\x05\x06")
    if hidden:  # the numbers of the disks, which nobody reads, look like another end
        content[end + 4 : end + 8] = b"PK\x05\x06"
    assert "entries" in refused(tmp_path, bytes(content))
    content = bytearray(many)
    content[end + 12 : end + 16] = struct.pack("<I", archives.MAX_DIRECTORY_BYTES + 1)
    if hidden:
        content[end + 4 : end + 8] = b"PK\x05\x06"
    assert "directory is larger" in refused(tmp_path, bytes(content))


def test_refuses_names_that_differ_only_by_case(tmp_path):
    assert "same name" in refused(tmp_path, zipped({"a.wav": b"1", "A.wav": b"2"}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_refuses_the_same_name_twice(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.wav", b"1")
        archive.writestr("a.wav", b"2")
    assert "same name" in refused(tmp_path, buffer.getvalue())


def test_refuses_an_encrypted_entry(tmp_path):
    content = bytearray(zipped({"a.wav": b"1"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refused(tmp_path, bytes(content))


def test_refuses_an_archive_in_an_archive(tmp_path):
    assert "another archive" in refused(
        tmp_path, zipped({"ok.wav": b"1", "inner.wav": zipped({"a.wav": b"1"})})
    )


def test_refuses_a_damaged_or_cut_archive(tmp_path):
    content = zipped({"a.wav": b"1" * 1000, "b.wav": b"2" * 1000})
    assert "damaged" in refused(tmp_path, content[: len(content) // 2])
    broken = bytearray(content)
    broken[36] ^= 0xFF
    assert "damaged" in refused(tmp_path, bytes(broken))


def test_refuses_what_does_not_fit_before_writing(tmp_path):
    assert "disk has" in refused(tmp_path, zipped({"a.wav": bytes(5000)}), free_bytes=4000)


def test_tells_archives_by_content(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.wav"))
    path = tmp_path / "x.wav"
    for content, kind in ((buffer.getvalue(), "tar"), (b"\x1f\x8b\x08", "gzip"), (b"RIFF....WAVE", None)):
        path.write_bytes(content)
        assert archives.kind_of(path) == kind
