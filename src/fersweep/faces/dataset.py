"""Dataset source that crops the images of another source to faces."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256

from fersweep.data import images
from fersweep.data.samples import Samples
from fersweep.data.sources.base import ImageFiles
from fersweep.errors import UserError
from fersweep.faces import Detector, Face, Pixels
from fersweep.faces.crop import Crop, choose

_log = logging.getLogger(__name__)

BATCH = 16  # images per call of the detector


@dataclass(frozen=True)
class FaceCropped:
    """A dataset source that crops each image, at its original size, to its most confident face.

    An image without a face is kept uncropped.

    Attributes:
        source: the source of the images.
        detector: finds the faces.
        crop: how faces are cut out and resized.
    """

    source: ImageFiles
    detector: Detector
    crop: Crop = field(default_factory=Crop)

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.source.name

    def fingerprint(self) -> str:
        """Return a digest of the fingerprints of source and detector, and of the crop."""
        parts = [self.source.fingerprint(), self.detector.fingerprint(), asdict(self.crop)]
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def load(self) -> Samples:
        """Decode and crop everything.

        Raises:
            UserError: from the source, an image is broken, or no image has a face.
        """
        records = self.source.records()
        faces: list[Pixels] = []
        without: list[str] = []
        for start in range(0, 0 if records.faults else len(records), BATCH):  # `images.load` reports faults
            ids = records.ids[start : start + BATCH]
            pictures = self._read(records, start, len(ids))
            for name, picture, found in zip(ids, pictures, self.detector.detect(pictures), strict=True):
                without += [] if found else [str(name)]
                faces.append(self._cropped(picture, found))
        if without and len(without) == len(records):
            raise UserError(
                f"{self.detector.name} finds no face in any of the {len(records):,} images of {self.name}: "
                "dataset.faces=none trains on uncropped images."
            )
        if without:
            _log.warning(
                "%s finds no face in %d of the %d images of %s, which are kept uncropped: %s",
                self.detector.name,
                len(without),
                len(records),
                self.name,
                ", ".join(without[:3]) + ", …" * (len(without) > 3),
            )
        cropped = replace(records, read=faces.__getitem__)
        return images.load(cropped, self.source.image_size, self.source.channels, self.name)

    def _read(self, records: images.Records, start: int, count: int) -> list[Pixels]:
        """Return the next images at their original size, as the detector is given them."""
        return images.parallel(count, lambda each: self.crop.picture(records.pixels(start + each, self.name)))

    def _cropped(self, image: Pixels, found: list[Face]) -> Pixels:
        """Return the most confident face, or else the image, in the dataset's size and channels."""
        for face in choose(found, "confident"):
            image = self.crop.cut(image, face)
        return self.crop.image(image, self.source.image_size, self.source.channels)
