"""Images from outside to arrays and back, and the settings inside our PNG files.

Fitting and rounding follow the reference to the bit. Files are untrusted: only the formats listed
here are opened, sizes are checked before anything is decoded, and whatever a damaged file makes
Pillow raise becomes an `ImageError`.
"""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from liquid_mlx.display import brief
from liquid_mlx.errors import ImageError
from liquid_mlx.files import as_path, atomic_file, open_regular
from liquid_mlx.params import choice, flag


class HoldsImage:
    """What owns an image and its codes int32 [rows, columns]: taken wherever an image is."""

    image: Image.Image
    codes: np.ndarray


# An array is uint8 [H, W], [H, W, 3] or [H, W, 4].
ImageSource: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | np.ndarray | HoldsImage
Fit = Literal["pad", "crop"]

# EPS is not among them: Pillow hands it to Ghostscript. HEIF works where a plugin brings it.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
MAX_PIXELS = 1 << 27  # decoded, half a gigabyte
MAX_SIDE = 1 << 15
_CHANNELS = ((), (3,), (4,))
PADDING = (122, 116, 104)
STRIP = 1 << 24  # pixels of padded image that exist at a time
BLENDED = 1 << 20  # pixels that are blended over white at a time, in 64-bit numbers
SETTINGS_KEY, CODES_KEY = "liquid", "liquid-codes"


def load_image(source: ImageSource, exif: bool = True) -> Image.Image:
    """Open and decode an image: a path, a file's bytes, a PIL image, an array, a drawn picture.

    Args:
        source: of an animation the first frame is taken; a PIL image stays as it is.
        exif: turn the image upright as its EXIF orientation says; the reference ignores it.

    Returns:
        The image with 8 bits a channel. More bits are scaled by their range: 16 bits by 65535,
        floating-point numbers by the least of 1, 255 and 65535 that none of them exceeds.

    Raises:
        ImageError: it is missing, empty, damaged, too large, not an image, or of unknown range.
    """
    exif = flag("exif", exif)
    if isinstance(source, HoldsImage):
        source = source.image
    elif isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        return _decode(source, "The image", exif)
    name = _name(source)
    with _open(source, name) as image:
        return _decode(image, name, exif)


def fit_image(image: Image.Image, resolution: int, fit: str = "pad") -> Image.Image:
    """An RGB image of `resolution` x `resolution`, by one of the reference's two ways.

    "pad" drops transparency, pads to a square with grey and resizes, so all of the image stays;
    "crop" blends transparency over white, resizes the shorter side and takes the centre.

    Raises:
        ImageError: the image is too long and narrow to be cropped.
        SettingsError: `fit` is neither.
    """
    if choice("fit", fit, ("pad", "crop")) == "pad":
        return _pad(_eight_bits(image, "The image").convert("RGB"), resolution)
    return _crop(whiten(image), resolution)


def load_pixels(
    source: ImageSource, resolution: int, *, fit: str = "pad", exif: bool = True
) -> np.ndarray:
    """`load_image` and `fit_image` in one: uint8 [resolution, resolution, 3]."""
    return np.array(fit_image(load_image(source, exif), resolution, fit))


def to_float(pixels: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 -1..1, rounded once, from float64."""
    return (pixels / 255 * 2 - 1).astype(np.float32)


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """float32, clamped to -1..1 -> uint8 0..255, truncated as the reference does."""
    clamped = np.clip(pixels.astype(np.float32), -1, 1)
    return ((clamped + 1) / 2 * 255).astype(np.uint8)


def to_image(pixels: np.ndarray) -> Image.Image:
    """float32 [H, W, 3] in -1..1 -> an RGB image."""
    return Image.fromarray(to_uint8(pixels))


def check_codes(codes: np.ndarray, n_codes: int) -> None:
    """Raise ImageError unless codes are whole numbers from 0 to ``n_codes - 1``."""
    whole = isinstance(codes, np.ndarray) and np.issubdtype(codes.dtype, np.integer)
    if not whole or not codes.size:
        found = getattr(codes, "shape", type(codes).__name__)
        raise ImageError(f"Codes are whole numbers [rows, columns], not {found}.")
    if codes.min() < 0 or codes.max() >= n_codes:
        raise ImageError(f"Codes lie in 0 to {n_codes - 1}; these reach {codes.max()}.")


def whiten(image: Image.Image) -> Image.Image:
    """RGB, with what is transparent blended over white."""
    image = _eight_bits(image, "The image")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGB", image.size)
    step = max(1, BLENDED // image.width)
    for top in range(0, image.height, step):
        strip = image.crop((0, top, image.width, min(top + step, image.height))).convert("RGBA")
        rgba = np.array(strip)
        alpha = rgba[..., 3:] / 255.0
        blended = ((1 - alpha) * 255 + alpha * rgba[..., :3]).astype(np.uint8)
        white.paste(Image.fromarray(blended), (0, top))
    return white


def save_png(
    image: Image.Image,
    path: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    codes: np.ndarray | None = None,
    overwrite: bool = True,
) -> None:
    """Write a PNG, whole or not at all.

    Args:
        image: any mode that PNG knows.
        path: its folder must be there.
        settings: kept inside for `read_settings`, as JSON, and as `parameters` for people.
        codes: int [rows, columns] below 65536, kept inside beside the settings, without loss.
        overwrite: False keeps what is at ``path``.

    Raises:
        ImageError: the folder is missing or cannot be written, or the name promises another format.
        FileError: it is not the path of a file.
    """
    path = as_path(path)
    if path.suffix.lower() not in ("", ".png"):
        raise ImageError(f"Pictures are written as PNG: call it {path.with_suffix('.png').name}.")
    try:
        with atomic_file(path, overwrite) as tmp:
            image.save(tmp, "PNG", pnginfo=_text_chunks(settings, codes) if settings else None)
    except OSError as error:
        raise ImageError(f"{path} cannot be written ({error.strerror or error}).") from None


def png_bytes(
    image: Image.Image, settings: Mapping[str, Any] | None = None, codes: np.ndarray | None = None
) -> bytes:
    """The file that `save_png` would write."""
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=_text_chunks(settings, codes) if settings else None)
    return file.getvalue()


def image_size(source: ImageSource) -> tuple[int, int]:
    """Width and height as a picture's header says; nothing more of it is read.

    Raises:
        ImageError: it is missing, empty, or not an image.
    """
    if isinstance(source, HoldsImage):
        return source.image.size
    if isinstance(source, np.ndarray):
        return _from_array(source).size
    if isinstance(source, Image.Image):
        return source.size
    with _open(source, _name(source)) as image:
        return image.size


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The settings inside a PNG that `save_png` wrote.

    Raises:
        ImageError: it cannot be read, or carries no settings.
    """
    settings = find_settings(path)
    if settings is None:
        raise ImageError(f"{path} carries no settings of liquid-mlx.")
    return settings


def find_settings(source: ImageSource) -> dict[str, Any] | None:
    """The settings inside a PNG that `save_png` wrote; None if there are none."""
    try:
        settings = json.loads(_text_inside(source, SETTINGS_KEY))
    except (TypeError, ValueError, RecursionError):
        return None
    return settings if isinstance(settings, dict) else None


def read_codes(source: ImageSource, shape: tuple[int, int]) -> np.ndarray | None:
    """The codes of this shape inside a PNG that `save_png` wrote; None if there are none."""
    if isinstance(source, HoldsImage):
        return source.codes if source.codes.shape == shape else None
    text = _text_inside(source, CODES_KEY)
    size = 2 * shape[0] * shape[1]
    try:
        found = json.loads(text)
        packed = base64.b64decode(found["codes"], validate=True)
        data = zlib.decompressobj().decompress(packed, size + 1)  # never more than was asked for
        fits = tuple(found["shape"]) == shape and len(data) == size
    except (TypeError, ValueError, KeyError, RecursionError, zlib.error):
        return None
    return np.frombuffer(data, "<u2").astype(np.int32).reshape(shape) if fits else None


def _text_inside(source: ImageSource, key: str) -> Any:
    if isinstance(source, HoldsImage | np.ndarray):
        return ""
    if isinstance(source, Image.Image):
        return source.info.get(key, "")
    with _open(source, _name(source)) as image:
        return image.info.get(key, "")


def _name(source: object) -> str:
    """What an error calls an image."""
    if isinstance(source, bytes):
        return "The image"
    return str(source) if isinstance(source, str | os.PathLike) else brief(source)


@contextmanager
def _open(source: str | os.PathLike[str] | bytes, name: str) -> Iterator[Image.Image]:
    """An image of which nothing but the header is read yet."""
    Image.init()
    formats = [f for f in FORMATS if f in Image.OPEN]
    try:
        with _bytes(source) as file, _quiet():
            if not file.read(1):
                raise ImageError(f"{name} is empty.")
            file.seek(0)
            yield Image.open(file, formats=formats)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{name} has too many pixels: make it smaller first.") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not a picture that can be read: try PNG or JPEG.") from None
    except Exception as error:  # a damaged file can make Pillow's plugins raise anything
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"{name} cannot be read ({reason.rstrip('.')}).") from None


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in _CHANNELS:
        raise ImageError(
            "An image as an array is uint8 [height, width], or with 3 or 4 channels, not "
            f"{pixels.dtype} {list(pixels.shape)}."
        )
    return Image.fromarray(np.ascontiguousarray(pixels))


def _bytes(source: str | os.PathLike[str] | bytes) -> BinaryIO:
    """An image's file, opened; a pipe or a device is none."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        os.lstat(source)
    except FileNotFoundError:
        raise ImageError(f"{source} does not exist.") from None
    return open_regular(Path(source), ImageError)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings about a file: what matters of them are errors of ours."""
    with _one_at_a_time, warnings.catch_warnings():  # which is not safe in threads
        warnings.simplefilter("ignore")
        yield


_one_at_a_time = threading.RLock()


def _decode(image: Image.Image, name: str, exif: bool) -> Image.Image:
    """The pixels of an opened image, turned upright if asked, with 8 bits a channel."""
    _check_size(image, name)
    image.load()
    if exif:
        with suppress(Exception):  # an image with damaged EXIF is still an image
            image = ImageOps.exif_transpose(image)
    return _eight_bits(image, name)


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if not width or not height:
        raise ImageError(f"{name} has no pixels.")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ImageError(
            f"{name} has {width} x {height} pixels: the limit is {MAX_PIXELS >> 20} million, "
            f"and {MAX_SIDE} a side. Make it smaller first."
        )


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey of 16 and 32 bits to 8, by its range; Pillow's own conversion clips it to white."""
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image)
    lowest, highest = values.min(), values.max()
    whole = image.mode[0] == "I"
    if image.mode.startswith("I;16"):
        top = 65535
    else:  # 32 bits, for which nothing says what is white
        top = next((top for top in (255, 65535) if highest <= top), 0)
        if not whole and highest <= 1:
            top = 1
    if not top or not lowest >= 0:  # NaN is refused, too
        raise ImageError(
            f"{name} has grey values from {lowest:g} to {highest:g}: give them 0 to 255 or "
            f"{'65535' if whole else '0 to 1'}."
        )
    if whole:
        return Image.fromarray((values >> 8 if top > 255 else values).astype(np.uint8))
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _pad(image: Image.Image, resolution: int) -> Image.Image:
    """Pad to a square and resize, without ever holding the whole square.

    Pillow resizes rows first, each by itself, then columns. So do the rows strip by strip; what is
    above, below and far beside the image stays the padding's colour.
    """
    width, height = image.size
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    # Columns of the result that see the image through Lanczos' window, and those they see.
    scale = side / resolution
    reach = 3 * max(scale, 1) + 1
    first = max(0, int((left - reach) / scale) - 1)
    last = min(resolution, int((left + width + reach) / scale) + 2)
    begin, end = max(0, int(first * scale - reach)), min(side, int(last * scale + reach) + 1)
    box = first * scale - begin, min(last * scale, end) - begin
    narrow = Image.new("RGB", (resolution, side), PADDING)
    step = max(1, STRIP // (end - begin))
    for start in range(0, height, step):
        rows = min(step, height - start)
        strip = Image.new("RGB", (end - begin, rows), PADDING)
        strip.paste(image.crop((0, start, width, start + rows)), (left - begin, 0))
        seen = box[0], 0, box[1], rows
        resized = strip.resize((last - first, rows), Image.Resampling.LANCZOS, seen)
        narrow.paste(resized, (first, top + start))
    return narrow.resize((resolution, resolution), Image.Resampling.LANCZOS)


def _crop(image: Image.Image, resolution: int) -> Image.Image:
    scale = resolution / min(image.size)
    width, height = round(scale * image.width), round(scale * image.height)
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"An image of {image.width} x {image.height} pixels is too long and narrow to be "
            'cropped: fit it with "pad".'
        )
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (width - resolution) // 2, (height - resolution) // 2
    return image.crop((left, top, left + resolution, top + resolution))


def _text_chunks(settings: Mapping[str, Any], codes: np.ndarray | None) -> PngInfo:
    """International text (UTF-8), which exiftool and image browsers show."""
    rest = ", ".join(f"{key}: {value}" for key, value in settings.items() if key != "prompt")
    people = f"{settings.get('prompt', '')}\n{rest}".replace("\0", " ")
    info = PngInfo()
    info.add_itxt("parameters", people.encode("utf-8", "replace").decode("utf-8"))
    info.add_itxt(SETTINGS_KEY, json.dumps(dict(settings)))
    if codes is not None:
        packed = base64.b64encode(zlib.compress(codes.astype("<u2").tobytes())).decode()
        info.add_itxt(CODES_KEY, json.dumps({"shape": list(codes.shape), "codes": packed}))
    return info
