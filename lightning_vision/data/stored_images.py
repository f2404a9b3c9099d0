"""Datamodules whose images are image files within other files, such as Arrow tables or tar archives."""

from abc import abstractmethod
from pathlib import Path

from torch import Tensor

from lightning_vision.data.datamodule import StreamDataModule
from lightning_vision.images.decoding import decode_bytes


class StoredImages(StreamDataModule):
    """A stream of image files that lie within other files; the digest of an image is that of its file.

    A concrete datamodule implements ``read_samples`` and ``stored_image``; and ``image_identity``, if its ``load_image`` does
    more than decode.
    """

    @abstractmethod
    def stored_image(self, index: int) -> bytes:
        """The content of the image file of a row of the table as ``read_samples`` gave it.

        Raises:
            DataError: It cannot be read.
        """

    def image_identity(self, index: int) -> bytes:
        """What the digest of an image is made of: the content of its file, and all that ``load_image`` does to it."""
        return self.stored_image(index)

    def image_name(self, index: int) -> str:
        """The row of an image for messages."""
        return f"row {index}"

    def load_image(self, index: int) -> Tensor:
        """uint8 RGB (3, h, w), upright."""
        return decode_bytes(self.stored_image(index), Path(self.image_name(index)))
