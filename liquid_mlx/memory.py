"""What a run needs in memory against what the machine has, and MLX's limits while it runs.

What cannot fit is refused before it starts; what runs out all the same ends as LowMemoryError.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from liquid_mlx.config import BackboneConfig, LiquidConfig, Size, VQGANConfig
from liquid_mlx.device import on_gpu
from liquid_mlx.errors import LowMemoryError, lost_peer

PROMPT_TOKENS = 128  # of a long prompt
CACHED = 1 << 30  # bytes of freed buffers that MLX keeps for the next step
ACTIVATIONS = 6  # full-size activations that live at once in the VQGAN: 3.5 to 5.9 measured
# On Metal with the scratch of one Winograd convolution: its tiles of 8x8 for 6x6 pixels take 1.8
# times the input and as much again of products, the padded input 1. 10.7 at the most, by a count
# of what a command buffer holds (tests/nn/test_decoding_memory.py); not measured.
GPU_ACTIVATIONS = 11
OUT_OF_MEMORY = re.compile(r"^\[(METAL|malloc|metal::malloc)\]")


def available() -> int:
    """Bytes that MLX may use: what Metal recommends, an NVIDIA GPU's memory, or the machine's."""
    if on_gpu():
        info = mx.device_info()
        found = info.get("max_recommended_working_set_size") or info.get("total_memory")
        if found:
            return int(found)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def weight_bytes(module: nn.Module, dtype: mx.Dtype) -> int:
    """Bytes of a module's parameters once its floating-point ones are of this dtype."""
    arrays = dict(tree_flatten(module.parameters())).values()
    return sum(
        a.size * (dtype.size if mx.issubdtype(a.dtype, mx.floating) else a.dtype.size)
        for a in arrays
    )


def kv_bytes(config: BackboneConfig, rows: int, length: int, dtype: mx.Dtype) -> int:
    """Bytes of the keys and values of ``rows`` sequences of ``length`` tokens."""
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return rows * length * per_token * dtype.size


def decoder_bytes(config: VQGANConfig, width: int, height: int) -> int:
    """Bytes of the VQGAN's activations while it decodes a picture of this size, one at a time."""
    channels = config.ch * max(config.ch_mult[:2])  # upsampled before level 0 narrows it
    activations = GPU_ACTIVATIONS if on_gpu() else ACTIVATIONS
    return activations * width * height * channels * mx.float32.size


def fitting(used: int, each: int, most: int) -> int:
    """How many things of ``each`` bytes, 1 to ``most``, fit half of what ``used`` leaves."""
    return max(1, min(most, (available() - used) // 2 // each))


def require(parts: Mapping[str, int], advice: str, have: int | None = None) -> None:
    """Raise LowMemoryError, with numbers, if the parts do not fit this machine together.

    Args:
        have: bytes there are; None is what this machine has.
    """
    need, have = sum(parts.values()), available() if have is None else have
    if need > have:
        listed = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.items())
        raise LowMemoryError(
            f"This needs {need / 1e9:.1f} GB ({listed}) and this machine has {have / 1e9:.1f} GB "
            f"for it: {advice}."
        )


@dataclass(frozen=True)
class Drawing:
    """Bytes that generating images takes, by use; the one rule that all predictions go by."""

    weights: int
    cache: int
    tokenizer: int
    decoding: int

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.tokenizer + self.decoding

    @property
    def low_ram(self) -> int:
        """With ``low_ram``, which frees the language model before pixels are decoded."""
        return max(self.weights + self.cache + self.tokenizer, self.tokenizer + self.decoding)


def drawing(
    config: LiquidConfig,
    weights: int,
    tokenizer: int,
    batch_size: int,
    length: int,
    size: Size,
    dtype: mx.Dtype,
) -> Drawing:
    """What generating takes.

    Args:
        weights, tokenizer: bytes of the language model and of the image tokenizer in float32.
        batch_size: sequences drawn together, the unconditional ones of guidance included.
        length: tokens of each, prompt and image.
        size: of the images, which are decoded one at a time.
        dtype: of keys and values.
    """
    cache = kv_bytes(config.backbone, batch_size, length, dtype)
    decoding = decoder_bytes(config.vqgan, size.width, size.height)
    return Drawing(weights, cache, tokenizer, decoding)


def one_image(config: LiquidConfig, weights: int, tokenizer: int, dtype: mx.Dtype) -> Drawing:
    """What an image of the default size takes, with guidance and a prompt of usual length."""
    size = config.sizes[0]
    rows, columns = config.grid(size)
    return drawing(config, weights, tokenizer, 2, PROMPT_TOKENS + rows * columns, size, dtype)


def images_at_once(
    config: LiquidConfig,
    used: int,
    rows: int,
    length: int,
    size: Size,
    dtype: mx.Dtype,
    most: int,
) -> int:
    """How many images, 1 to ``most``, half of what ``used`` bytes and the decoder leave takes.

    ``rows`` are the sequences of each, of ``length`` tokens.
    """
    used += decoder_bytes(config.vqgan, size.width, size.height)
    return fitting(used, kv_bytes(config.backbone, rows, length, dtype), most)


def require_drawing(need: Drawing, low_ram: bool) -> None:
    """Raise LowMemoryError, with numbers and a way out, if it does not fit this machine."""
    model = {"weights": need.weights, "keys and values": need.cache}
    pixels = {"image tokenizer": need.tokenizer}
    decoding = {"decoding": need.decoding}
    fewer = "draw fewer images at once, or convert the model to fewer bits"
    if not low_ram:
        require(model | pixels | decoding, f"load it with low_ram (--low-ram), {fewer}")
    else:
        require(model | pixels, fewer)
        require(pixels | decoding, "draw a smaller image")


class _Limits:
    """MLX's limits before the first user, who may not be the last to leave."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = (0, 0)

    def take(self) -> None:
        with self._lock:
            if self._users == 0:
                self._before = mx.set_wired_limit(available()), mx.set_cache_limit(CACHED)
            self._users += 1

    def give_back(self) -> None:
        mx.synchronize()  # nothing may still run when memory ceases to be wired
        with self._lock:
            self._users -= 1
            if self._users == 0:
                mx.set_wired_limit(self._before[0])
                mx.set_cache_limit(self._before[1])


_limits = _Limits()


@contextmanager
def limits() -> Iterator[None]:
    """On Metal: keep the weights resident, and few freed buffers. Any number may overlap.

    Raises:
        LowMemoryError: MLX ran out of memory within, on any device.
        DistributedError: another process, which holds a part of the model, has gone.
    """
    on_metal = mx.metal.is_available() and on_gpu()
    if on_metal:
        _limits.take()
    try:
        yield
    except RuntimeError as error:
        if lost := lost_peer(error):
            raise lost from None
        if not OUT_OF_MEMORY.match(str(error)):
            raise
        raise LowMemoryError(
            "MLX ran out of memory: close other programs, draw fewer or smaller images, or use a "
            "model of fewer bits."
        ) from error
    finally:
        if on_metal:
            _limits.give_back()
