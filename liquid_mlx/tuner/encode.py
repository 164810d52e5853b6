"""Pictures of training data to codes, once: kept by content in the user's cache folder."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import numpy as np

from liquid_mlx import images
from liquid_mlx.config import Size
from liquid_mlx.errors import LiquidError
from liquid_mlx.files import atomic_write, cache_folder, read_bytes
from liquid_mlx.generation.drawing.editing import fit_to
from liquid_mlx.memory import limits
from liquid_mlx.model import Liquid
from liquid_mlx.nn.vqgan import VQGAN
from liquid_mlx.tuner.records import Picture, Problem, Record
from liquid_mlx.weights import flat

MAX_PICTURE = 1 << 28  # bytes of a file


@dataclass(frozen=True)
class Task:
    """A picture to encode: to be drawn in this size, or (None) to be looked at."""

    path: Path
    size: Size | None


class Encoder:
    """Codes of pictures, from the cache where it has them.

    Args:
        liquid: the model whose image tokenizer is asked.
        folder: of the cache; None is ``~/.cache/liquid-mlx/codes``.
    """

    def __init__(self, liquid: Liquid, folder: Path | None = None):
        self._liquid = liquid
        self._folder = folder or cache_folder() / "codes"
        self._tokenizer = fingerprint(liquid.vqgan)
        self._known: dict[Task, np.ndarray] = {}
        self.encoded = 0  # not found in the cache

    def codes(self, task: Task) -> np.ndarray:
        """Codes int32 [rows, columns]; raises ImageError or FileError."""
        if task not in self._known:
            self._known[task] = self._read(task)
        return self._known[task]

    def _read(self, task: Task) -> np.ndarray:
        data = read_bytes(task.path, MAX_PICTURE)
        how = "pad" if task.size is None else str(task.size)
        name = hashlib.sha256(f"{self._tokenizer} {how} ".encode() + data).hexdigest()
        path = self._folder / name[:2] / f"{name}.npy"
        config = self._liquid.config
        side = config.vqgan.resolution
        grid = config.grid(task.size or Size(side, side))
        with suppress(OSError, ValueError, EOFError):
            found = np.load(path, allow_pickle=False)
            whole = found.dtype == np.int32 and found.shape == grid
            if whole and found.min() >= 0 and found.max() < config.vqgan.n_embed:
                return np.asarray(found)
        try:
            codes = self._encode(data, task.size)
        except LiquidError as error:  # it was read from bytes, which have no name
            raise type(error)(str(error).replace("The image", str(task.path))) from None
        self.encoded += 1
        with suppress(OSError):  # a cache that cannot be written only costs time
            _save(path, codes)
        return codes

    def _encode(self, data: bytes, size: Size | None) -> np.ndarray:
        if size is None:
            return self._liquid.encode(data)
        pixels = fit_to(images.load_image(data), size.width, size.height)
        with limits():
            codes = self._liquid.vqgan.encode(mx.array(images.to_float(pixels))[None])[0]
            return np.array(codes, dtype=np.int32)


def _save(path: Path, codes: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, codes)
    atomic_write(path, file.getvalue())


def fingerprint(vqgan: VQGAN) -> str:
    """A few characters that change with the image tokenizer's weights."""
    digest = hashlib.sha256()
    for name, array in sorted(flat(vqgan).items()):
        digest.update(name.encode())
        digest.update(np.array(array.astype(mx.float32)).tobytes())
    return digest.hexdigest()[:16]


def nearest_size(liquid: Liquid, path: Path) -> Size:
    """The model's size whose shape is most like the picture's; raises ImageError."""
    from PIL import Image

    sizes = liquid.config.sizes
    if len(sizes) == 1:
        return sizes[0]
    picture: Image.Image = images.load_image(path)
    shape = picture.width / picture.height
    return min(sizes, key=lambda size: abs(np.log(size.width / size.height / shape)))


def encode_all(
    liquid: Liquid,
    encoder: Encoder,
    records: Sequence[Record],
    tell: Callable[[str, int], None] = lambda name, done: None,
) -> tuple[list[Record], list[Problem]]:
    """Records with codes in place of files, and a problem for each that cannot be read.

    A picture that is to be drawn gets the model's size that is nearest to its shape; one that is
    asked about is padded to the square that the model looks at.
    """
    found, problems = [], []
    for done, record in enumerate(records):
        tell(record.where, done)
        try:
            if record.picture is not None and record.picture.path is not None:
                size = nearest_size(liquid, record.picture.path)
                codes = encoder.codes(Task(record.picture.path, size))
                record = replace(record, picture=Picture(codes=codes), size=size)
            if record.shown:
                shown = {i: _looked_at(encoder, picture) for i, picture in record.shown.items()}
                record = replace(record, shown=shown)
        except LiquidError as error:
            problems.append(Problem(record.where, str(error)))
            continue
        found.append(record)
    return found, problems


def _looked_at(encoder: Encoder, picture: Picture) -> Picture:
    if picture.path is None:
        return picture
    return Picture(codes=encoder.codes(Task(picture.path, None)))
