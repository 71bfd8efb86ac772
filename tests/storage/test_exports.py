import io
import zipfile

from qlora_studio.storage.exports import Entry, folder_entries, stream_zip


def test_a_streamed_zip_opens(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.safetensors").write_bytes(b"\x01" * 3_000_000)
    (tmp_path / "sub" / "b.txt").write_text("hello")
    (tmp_path / "link").symlink_to("/etc/passwd")
    entries = [*folder_entries(tmp_path, "adapter/"), Entry("m.csv", iter([b"a,", b"b"])), Entry("x", b"y")]
    archive = zipfile.ZipFile(io.BytesIO(b"".join(stream_zip(entries))))
    assert archive.testzip() is None
    assert archive.namelist() == ["adapter/a.safetensors", "adapter/sub/b.txt", "m.csv", "x"]
    assert archive.read("adapter/a.safetensors") == b"\x01" * 3_000_000
    assert archive.read("m.csv") == b"a,b"


def test_pieces_stay_small(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(bytes(5 << 20))
    assert max(map(len, stream_zip(folder_entries(tmp_path)))) <= 1 << 20
