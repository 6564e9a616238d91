"""A dataset whose images are the faces in the images of another."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Protocol

from fersweep.data import images
from fersweep.data.samples import Samples
from fersweep.errors import UserError
from fersweep.faces import Detector, Face, Pixels
from fersweep.faces.crop import Crop, choose

_log = logging.getLogger(__name__)

BATCH = 16
"""Images that a detector is given at once."""


class Source(Protocol):
    """What is needed of a dataset source that reads files."""

    name: str
    image_size: int
    channels: int

    def fingerprint(self) -> str:
        """Return a digest of everything that it holds."""

    def records(self) -> images.Records:
        """Return the images before decoding."""


@dataclass(frozen=True)
class FaceCropped:
    """A dataset source that looks for faces in images of their own size and resizes the most confident one of each.

    An image in which none is found stays whole. Like any source, it is cached.

    Attributes:
        source: of the images.
        detector: finds the faces.
        crop: what becomes of them.
    """

    source: Source
    detector: Detector
    crop: Crop = field(default_factory=Crop)

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    def fingerprint(self) -> str:
        """Return a digest of the source's, the detector's, and of how faces are cut out."""
        parts = [self.source.fingerprint(), self.detector.fingerprint(), asdict(self.crop)]
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def load(self) -> Samples:
        """Decode everything, and crop it.

        Raises:
            UserError: of the source, or an image is broken, or there is a face in none of them.
        """
        records = self.source.records()
        faces: list[Pixels] = []
        without: list[str] = []
        for start in range(0, 0 if records.faults else len(records), BATCH):  # faults are for `images.load` to name
            ids = records.ids[start : start + BATCH]
            whole = self._read(records, start, len(ids))
            for name, image, found in zip(ids, whole, self.detector.detect(whole), strict=True):
                without += [] if found else [str(name)]
                faces.append(self._cropped(image, found))
        if without and len(without) == len(records):
            raise UserError(
                f"{self.detector.name} finds no face in any of the {len(records):,} images of {self.name}: "
                "dataset.faces=none trains on whole images."
            )
        if without:
            _log.warning(
                "%s finds no face in %d of the %d images of %s, which stay whole: %s",
                self.detector.name,
                len(without),
                len(records),
                self.name,
                ", ".join(without[:3]) + ", …" * (len(without) > 3),
            )
        cropped = replace(records, read=faces.__getitem__)
        return images.load(cropped, self.source.image_size, self.source.channels, self.name)

    def _read(self, records: images.Records, start: int, count: int) -> list[Pixels]:
        """The next images at their own size, as faces are looked for in them."""
        whole: dict[int, Pixels] = {}

        def fill(offset: int) -> None:
            try:
                whole[offset] = self.crop.picture(records.read(start + offset))
            except images.UnreadableImageError as error:
                advice = f"`fersweep data {self.name}` lists every unreadable image"
                raise UserError(f"cannot read the image {records.ids[start + offset]}: {error} ({advice})") from error

        images.for_each(count, fill)
        return [whole[offset] for offset in range(count)]

    def _cropped(self, image: Pixels, found: list[Face]) -> Pixels:
        """The most confident face, or the whole image, in the dataset's size and channels."""
        for face in choose(found, "confident"):
            image = self.crop.cut(image, face)
        return self.crop.image(image, self.source.image_size, self.source.channels)
