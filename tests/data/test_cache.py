"""Cache of decoded datasets: written once, never read partially, never stale."""

import errno
import io
import multiprocessing
import os
import re
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from fakes import encoded, fer2013_folder, folder, jaffe, picture, write

from fersweep.data import cache
from fersweep.data.samples import Samples
from fersweep.data.sources.fer2013 import Fer2013
from fersweep.data.sources.folder import Folder
from fersweep.data.sources.jaffe import Jaffe
from fersweep.errors import UserError


class Slow(Folder):
    """A folder whose decoding is slow and recorded in a file."""

    def load(self) -> Samples:
        with (Path(str(self.root)).parent / "decodings").open("a") as file:
            file.write("x")
        time.sleep(0.5)
        return super().load()


def decodings(root: Path) -> int:
    path = root.parent / "decodings"
    return len(path.read_text()) if path.exists() else 0


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_images_are_mapped_and_everything_else_comes_back(tmp_path: Path) -> None:
    source = Fer2013(fer2013_folder(tmp_path / "fer"))
    decoded, cached = source.load(), cache.load(source, tmp_path / "cache")
    assert isinstance(cached.images, np.memmap)
    assert cached.images.dtype == np.uint8
    assert not cached.images.flags.writeable
    for name in ("images", "labels", "ids", "usage"):
        assert getattr(decoded, name).tolist() == getattr(cached, name).tolist()
    assert cached.class_names == decoded.class_names
    assert cached.subjects is None
    assert visible(tmp_path / "cache") == [f"fer2013-{source.fingerprint()[:16]}"]


def test_subjects_and_colour_come_back(tmp_path: Path) -> None:
    source = Jaffe(jaffe(tmp_path / "jaffe"), image_size=32, channels=3)
    cached = cache.load(source, tmp_path / "cache")
    assert cached.images.shape == (56, 32, 32, 3)
    assert set(cached.subjects.tolist()) == {"KA", "KL", "KM", "KR"}
    assert cached.usage is None


def test_the_second_load_decodes_nothing(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    first, second = (cache.load(Slow(root), tmp_path / "cache") for _ in range(2))
    assert decodings(root) == 1
    assert np.array_equal(first.images, second.images)


def test_a_changed_source_is_noticed(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    assert len(cache.load(Slow(root), tmp_path / "cache")) == 15
    write(root / "sad" / "new.png", encoded(picture(99)))
    assert len(cache.load(Slow(root), tmp_path / "cache")) == 16
    write(root / "sad" / "new.png", encoded(picture(100)))
    os.utime(root / "sad" / "new.png", ns=(1, 1))
    images = cache.load(Slow(root), tmp_path / "cache")
    index = images.ids.tolist().index("sad/new.png")
    assert np.array_equal(images.images[index], picture(100))
    cache.load(Slow(root, image_size=40), tmp_path / "cache")
    assert decodings(root) == 4
    assert len(visible(tmp_path / "cache")) == 4


def _build(root: Path, place: Path, out: "multiprocessing.Queue[int]") -> None:
    out.put(int(cache.load(Slow(root), place).images.astype(int).sum()))


def test_two_processes_at_once_decode_once(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    workers = [context.Process(target=_build, args=(root, tmp_path / "cache", out)) for _ in range(2)]
    for worker in workers:
        worker.start()
    sums = {out.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sums == {int(Folder(root).load().images.astype(int).sum())}
    assert decodings(root) == 1
    assert len(visible(tmp_path / "cache")) == 1


def test_without_locks_the_loser_keeps_the_winners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "data")

    class NoLock:
        def __init__(self, path: Path) -> None: ...

        def acquire(self, timeout: float = -1) -> None:
            raise NotImplementedError("no flock here")

        def release(self) -> None: ...

    class Beaten(Folder):
        def load(self) -> Samples:
            cache.load(Folder(root), tmp_path / "cache")
            return super().load()

    monkeypatch.setattr(cache, "FileLock", NoLock)
    assert len(cache.load(Beaten(root), tmp_path / "cache")) == 15
    assert len(visible(tmp_path / "cache")) == 1


def test_a_half_written_folder_is_not_read_and_goes_away(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    source = Slow(root)
    name = f"folder-{source.fingerprint()[:16]}"
    ended = multiprocessing.get_context("spawn").Process(target=int)
    ended.start()
    ended.join()
    host = cache.socket.gethostname()
    here, elsewhere = cache._host(), f"{host}~{'0' * 36}.4026531999"  # elsewhere: a container with this hostname
    hosts = (here, elsewhere, host)  # the last as an earlier version wrote it
    if here == host:
        pytest.skip("no /proc")
    left = [tmp_path / "cache" / f".{name}.{each}.{ended.pid}.abcd1234" for each in hosts]
    old = tmp_path / "cache" / f".{name}.{elsewhere}.{os.getppid()}.abcd1235"
    alive = tmp_path / "cache" / f".{name}.{here}.{os.getppid()}.abcd1234"
    for path in (*left, alive, old):
        write(path / "images.npy", b"half")
    os.utime(old, (time.time() - cache.DAY - 1,) * 2)
    assert len(cache.load(source, tmp_path / "cache")) == 15
    assert [path.exists() for path in left] == [False, True, True]  # of those elsewhere nothing is known for a day
    assert not old.exists()
    assert alive.exists()


def test_a_folder_that_is_being_written_names_its_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    flush = cache._flush
    monkeypatch.setattr(cache, "_flush", lambda file: (written.append(Path(file.name).parent.name), flush(file))[1])
    cache.load(Folder(folder(tmp_path / "data")), tmp_path / "cache")
    assert re.fullmatch(rf"\.folder-\w{{16}}\.{re.escape(cache._host())}\.{os.getpid()}\.\w{{8}}", written[0])


@pytest.mark.parametrize("damage", ["truncate", "remove", "other"])
def test_a_damaged_folder_is_made_again(tmp_path: Path, damage: str) -> None:
    root = folder(tmp_path / "data")
    source = Slow(root)
    cache.load(source, tmp_path / "cache")
    place = tmp_path / "cache" / f"folder-{source.fingerprint()[:16]}"
    if damage == "truncate":
        with (place / "images.npy").open("r+b") as file:
            file.truncate(1000)
    elif damage == "remove":
        (place / "samples.npz").unlink()
    else:
        (place / "samples.npz").write_bytes(b"not a zip")
    assert np.array_equal(cache.load(source, tmp_path / "cache").images, Folder(root).load().images)
    assert decodings(root) == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    root = folder(tmp_path / "data")
    monkeypatch.setattr(cache, "_flush", lambda _file: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
    with pytest.raises(UserError, match=r"no space left.*cache: they need 34,560 bytes \(0 MiB\), so free some"):
        cache.load(Folder(root), tmp_path / "cache")
    assert visible(tmp_path / "cache") == []


def test_a_real_full_device_says_why() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    file: IO[bytes]
    with full.open("wb", buffering=0) as raw, pytest.raises(OSError, match="No space left") as caught:  # noqa: PT012
        file = io.BufferedWriter(raw, 16)
        try:
            cache._write_array(file, picture(0))
        finally:
            file.detach()
    assert caught.value.errno == errno.ENOSPC


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    blocked = write(tmp_path / "cache", "a file")
    with pytest.raises(UserError, match=r"cannot write the cache in .*cache .*choose another one with cache=PATH"):
        cache.load(Folder(folder(tmp_path / "data")), blocked)


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")

    class Growing(Folder):
        def load(self) -> Samples:
            loaded = super().load()
            write(root / "sad" / "late.png", encoded(picture(7)))
            return loaded

    with pytest.raises(UserError, match="folder changed while it was read"):
        cache.load(Growing(root), tmp_path / "cache")
    assert visible(tmp_path / "cache") == []


def test_a_broken_image_leaves_no_cache(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    write(root / "sad" / "2.png", b"no image")
    with pytest.raises(UserError, match=r"cannot read the image sad/2.png.*`fersweep data folder`"):
        cache.load(Folder(root), tmp_path / "cache")
    assert visible(tmp_path / "cache") == []
