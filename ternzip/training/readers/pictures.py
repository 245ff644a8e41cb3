"""Pictures in the formats that Pillow reads, as arrays of one size and one number of channels."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.text import first_line
from ternzip.models.spec import ImageFit

if TYPE_CHECKING:
    from PIL.Image import Image

# What pictures of several sizes are brought to unless asked otherwise: what the built-in networks are made for.
USUAL_SIZE = (32, 32)
GREY_MODES = ("1", "L", "LA")
# More than 8 bits a channel, which converting would cut off.
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Picture:
    """An encoded picture, in a file or in memory.

    Attributes:
        name: for messages.
        source: its file, or what that holds.
        key: what tells it from the others of a data set wherever that lies and however it grows; of a picture in memory
            itself.
    """

    name: str
    source: Path | bytes
    key: bytes = b""

    @property
    def draw(self) -> float:
        """A number in [0, 1) by which it is set aside or not, always the same and like a random one."""
        key = self.key or (self.source if isinstance(self.source, bytes) else str(self.source).encode())
        return int.from_bytes(hashlib.sha256(key).digest()[:6], "big") / 2**48

    @contextmanager
    def opened(self) -> Iterator[Image]:
        """The picture with its header read; TernzipError where that, or decoding in the context, fails."""
        from PIL import Image

        source = io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source
        try:
            with Image.open(source) as image:
                yield image
        except TernzipError:
            raise
        except Exception as error:  # every format's decoder fails in its own way
            reason = first_line(error)
            raise TernzipError(f"{self.name}: not a picture that can be read: {reason}") from error


@dataclass(frozen=True)
class Frame:
    """What pictures are brought to: `size` as (height, width), `channels` 1 or 3."""

    size: tuple[int, int]
    channels: int


def common_frame(pictures: Sequence[Picture], size: tuple[int, int] | None) -> tuple[Frame, str]:
    """A frame for all pictures, and a note where they are not of one size and none was asked for, else "".

    Their own size if they share one, and colour if any has colour. Reads their headers.
    """
    require("reading pictures", "train", "PIL")
    sizes: dict[tuple[int, int], str] = {}
    colour = False
    for picture in pictures:
        with picture.opened() as image:
            sizes.setdefault((image.height, image.width), picture.name)
            colour |= image.mode not in GREY_MODES
    channels = 3 if colour else 1
    if size is not None or len(sizes) == 1:
        return Frame(size or next(iter(sizes)), channels), ""
    (first, second) = [f"{width}x{height} ({name})" for (height, width), name in list(sizes.items())[:2]]
    told = (
        f"pictures of several sizes, as {first} and {second}: brought to 32 x 32; --image-size takes another"
    )
    return Frame(USUAL_SIZE, channels), told


def read_pictures(pictures: Sequence[Picture], frame: Frame, fit: ImageFit) -> Tensor:
    """The pictures as uint8 (n, channels, height, width), all in one frame.

    "crop" scales a picture until it covers the frame and cuts off what juts out on both sides; "stretch" scales height
    and width apart. Transparency is dropped. Raises TernzipError for what is no picture or has more than 8 bits a
    channel.
    """
    images = np.empty((len(pictures), *frame.size, frame.channels), np.uint8)
    for i, picture in enumerate(pictures):
        with picture.opened() as image:
            images[i] = _framed(picture, image, frame, fit)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _framed(picture: Picture, image: Image, frame: Frame, fit: ImageFit) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    if image.mode in DEEP_MODES:
        raise TernzipError(f"{picture.name}: expected 8 bits a channel, found mode {image.mode}")
    plain = image.convert("RGB" if frame.channels == 3 else "L")
    height, width = frame.size
    if plain.size != (width, height):
        if fit == "crop":
            plain = ImageOps.fit(plain, (width, height), Image.Resampling.BILINEAR)
        else:
            plain = plain.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(plain).reshape(height, width, frame.channels)
