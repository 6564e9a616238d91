"""Archives: tar in every compression, and what damaged and hostile ones do."""

import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import fakes
import numpy as np
import pytest
from fakes import encoded, picture, write

from fersweep.data import archives, files, images
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.folder import Folder
from fersweep.errors import UserError
from fersweep.faces import pictures


def tarred(folder: Path, archive: Path, mode: str = "w:gz", prefix: str = "./") -> Path:
    """Pack everything in ``folder`` as ``tar`` does."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, mode) as file:  # type: ignore[call-overload]
        file.add(folder, prefix)
    return archive


@pytest.mark.parametrize(("name", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz"), ("tar.xz", "w:xz")])
def test_a_tar_is_read_like_a_zip(tmp_path: Path, name: str, mode: str) -> None:
    root = fakes.fer2013_folder(tmp_path / "source" / "fer2013")
    write(root / "._notes", "of macOS")
    archive = tarred(tmp_path / "source", tmp_path / "data" / f"fer2013.{name}", mode)
    data, expected = Fer2013(archive.parent).load(), Fer2013(root).load()
    assert Fer2013(archive.parent).locate() == archive
    assert data.ids.tolist() == expected.ids.tolist()
    assert np.array_equal(data.images, expected.images)
    zipped = fakes.zipped(tmp_path / "source", tmp_path / "fer2013.zip")
    assert Fer2013(archive).fingerprint() == Fer2013(zipped).fingerprint()
    assert list(archive.parent.iterdir()) == [archive]


def test_the_challenge_as_kaggle_gave_it_out(tmp_path: Path) -> None:
    path = fakes.fer2013_csv(tmp_path / "source" / "fer2013" / "fer2013.csv")
    write(path.parent / "README", "The Facial Expression Recognition 2013 data set")
    archive = tarred(path.parent, tmp_path / "a" / "fer2013.tar.gz", prefix="fer2013")
    assert np.array_equal(Fer2013(tmp_path / "a").load().images, Fer2013(path).load().images)
    path.rename(tmp_path / "a" / "fer2013.csv")
    assert Fer2013(tmp_path / "a").locate() == tmp_path / "a" / "fer2013.csv"  # as before tar archives were read
    assert Fer2013(archive).records().ids[0] == "fer2013.csv/000001"


def test_a_tar_of_class_folders(tmp_path: Path) -> None:
    root = fakes.folder(tmp_path / "source")
    archive = tarred(root, tmp_path / "a" / "faces.tar.bz2", "w:bz2", "faces")
    assert Folder(archive.parent).load().ids.tolist() == Folder(root).load().ids.tolist()


@pytest.mark.parametrize("cut", [40, 2000, 2048])
def test_a_damaged_tar_is_one_sentence(tmp_path: Path, cut: int) -> None:
    for mode, name in (("w", "x.tar"), ("w:gz", "x.tar.gz"), ("w:xz", "x.tar.xz")):
        archive = tarred(fakes.folder(tmp_path / "source"), tmp_path / name, mode)
        archive.write_bytes(archive.read_bytes()[: -cut if mode != "w" else 512 * 13 - cut])
        with pytest.raises(
            UserError, match=rf"{name} is not a complete tar archive \(.*\): copy or download it again$"
        ):
            Folder(archive).load()
    with pytest.raises(UserError, match=r"none.tgz is not a complete tar archive"):
        Folder(write(tmp_path / "none.tgz", "no archive")).load()


def still_open(path: Path) -> bool:
    """Return whether this process has a file open."""
    return any(each.exists() and each.resolve() == path for each in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it lists the open files")
@pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.tgz"])
def test_an_archive_that_is_refused_is_closed(name: str, tmp_path: Path) -> None:
    """Also while the error is kept, whose traceback holds what was being read."""
    source = fakes.folder(tmp_path / "source")
    if name == "x.zip":
        archive = tmp_path / name
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("../evil.png", b"")
    else:
        archive = tarred(source, tmp_path / name, "w")
        archive.write_bytes(archive.read_bytes()[: 512 * 13 - 2048])
    with pytest.raises(UserError) as kept:
        Folder(archive).load()
    assert kept.value.__traceback__ is not None
    assert not still_open(archive)


def test_a_hostile_tar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_member(name: str, kind: bytes = tarfile.REGTYPE) -> Path:
        archive = tarred(fakes.folder(tmp_path / "source"), tmp_path / "x.tar", "w")
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        with tarfile.open(archive, "a") as file:
            file.addfile(member)
        return archive

    for name in ("../evil.png", "/evil.png", "Anger/../../evil.png"):
        with pytest.raises(UserError, match="points outside of the archive"):
            Folder(with_member(name)).load()
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        with pytest.raises(UserError, match=r"holds 'Anger/x.png', which is no ordinary file: unpack it"):
            Folder(with_member("Anger/x.png", kind)).load()
    monkeypatch.setattr(archives, "TAR_LIMIT", 2**19)
    bomb = tarfile.TarInfo("Anger/x.png")
    bomb.size = 2**22
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as file:
        file.addfile(bomb, io.BytesIO(bytes(bomb.size)))
    with pytest.raises(UserError, match=r"bomb.tar.gz unpacks to more than .* GiB"):
        Folder(tmp_path / "bomb.tar.gz").load()


def test_large_files_of_an_archive_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = fakes.zipped(fakes.folder(tmp_path / "source"), tmp_path / "x.zip")
    monkeypatch.setattr(files, "MEMBER_LIMIT", 2**21)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Anger/zeros.png", bytes(2**21 + 1))
    with pytest.raises(
        UserError, match=r"cannot read the image Anger/zeros.png: 2 MiB inside an archive, of at most 2"
    ):
        Folder(archive).load()
    monkeypatch.setattr(pictures, "LARGEST_FILE", 2**20)
    with pytest.raises(images.UnreadableImageError, match="larger than 1 MiB"):
        pictures.read(write(tmp_path / "large.png", bytes(2**20 + 1)))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_of_every_compression_is_named(tmp_path: Path, method: int) -> None:
    for number in range(12):
        archive = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(archive, "w", method) as file:
            for name in ("happy/1.png", "sad/2.png"):
                file.writestr(name, encoded(picture(number)))
        data = bytearray(archive.read_bytes())
        draw = np.random.default_rng(number)
        for place in 40 + draw.integers(0, 400, 4):
            data[place] ^= int(draw.integers(1, 256))
        archive.write_bytes(data)
        with pytest.raises(UserError, match=r"cannot read the image happy/1.png: damaged"):
            Folder(archive).load()


def test_a_compression_that_is_unknown_is_named(tmp_path: Path) -> None:
    archive = fakes.zipped(fakes.folder(tmp_path / "source", per_class=1), tmp_path / "x.zip")
    data = archive.read_bytes()
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        offset = 8 if start.endswith(b"\x04") else 10
        places = [at for at in range(len(data)) if data.startswith(start, at)]
        for at in places:
            data = data[: at + offset] + b"\x63\0" + data[at + offset + 2 :]
    with pytest.raises(UserError, match=r"cannot read the image .*0.png: damaged or encrypted inside its archive"):
        Folder(write(archive, data)).load()


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_table_with_other_separators(tmp_path: Path, separator: str) -> None:
    expected = Fer2013(fakes.fer2013_csv(tmp_path / "a" / "fer2013.csv")).load()
    text = (tmp_path / "a" / "fer2013.csv").read_text().replace(",", separator)
    data = Fer2013(write(tmp_path / "b" / "fer2013.csv", "\ufeff" + text)).load()
    assert np.array_equal(data.images, expected.images)
    assert (data.ids.tolist(), data.labels.tolist()) == (expected.ids.tolist(), expected.labels.tolist())


def test_a_table_without_lines_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = archives.Guarded.readinto

    def counted(self: archives.Guarded, buffer: memoryview) -> int:
        read.append(original(self, buffer))
        return read[-1]

    monkeypatch.setattr(archives.Guarded, "readinto", counted)
    for text in (bytes(2**24), b"emotion,pixels,Usage\n" + bytes(2**24)):
        with zipfile.ZipFile(tmp_path / "fer2013.zip", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("fer2013.csv", text)
        with pytest.raises(UserError, match=r"cannot read .*fer2013.csv: line \d has more than 131,072 characters"):
            Fer2013(tmp_path).load()
        assert sum(read) < 2**20
        read.clear()


def test_damage_in_a_packed_table_is_named(tmp_path: Path) -> None:
    path = fakes.fer2013_csv(tmp_path / "source" / "fer2013.csv")
    archive = tmp_path / "fer2013.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as file:
        file.write(path, "fer2013.csv")
    data = bytearray(archive.read_bytes())
    data[5000:5040] = lzma.compress(b"other")[:40]
    archive.write_bytes(data)
    with pytest.raises(UserError, match=r"cannot read .*fer2013.csv: damaged or encrypted inside its archive"):
        Fer2013(archive).load()
