"""What dataset sources of image files have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from fersweep.data import files, images
from fersweep.data.samples import Samples
from fersweep.errors import UserError


class ImageFiles(ABC):
    """A dataset of image files as `Samples`. A subclass has a ``name`` and says which images there are (`records`).

    Args:
        root: the folder or zip archive that holds the files.
        image_size: pixels a side of the decoded images.
        channels: 1 for grey, 3 for RGB.
    """

    name: str

    def __init__(self, root: str | Path | None = None, image_size: int = 48, channels: int = 1) -> None:
        self.root = root
        self.image_size = image_size
        self.channels = channels

    def locate(self) -> Path:
        """Return the folder or archive; here ``root`` itself, in a subclass perhaps a place below it.

        Raises:
            UserError: there is nothing.
        """
        if self.root is None or not Path(self.root).expanduser().exists():
            raise UserError(
                f"dataset.root={self.root} is not there: name the folder or archive of dataset={self.name}."
            )
        return Path(self.root).expanduser()

    def tree(self) -> files.Tree:
        """Return the files by relative name: ``tree.images()`` lists the images, ``tree.read(name)`` gives bytes."""
        return files.open_tree(self.locate())

    def fingerprint(self) -> str:
        """Return a digest of what `load` depends on: names, sizes and checksums (or times), the decoded form."""
        tree = self.tree()
        return files.fingerprint(tree.stamps, tree.stamps, {"size": self.image_size, "channels": self.channels})

    @abstractmethod
    def records(self) -> images.Records:
        """Return the images before decoding: ids, labels, how to read one; people and parts where they are known.

        Raises:
            UserError: the files are not those of this dataset.
        """

    def load(self) -> Samples:
        """Decode everything.

        Raises:
            UserError: as `locate` and `records`, or an image is broken.
        """
        return images.load(self.records(), self.image_size, self.channels, self.name)

    def checks(self, records: images.Records) -> list[tuple[str, int, int]]:
        """Return ``(what, found, expected)`` for the counts that a complete copy has; none here."""
        return []
