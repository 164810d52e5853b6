"""The options of a conversion, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liquid_mlx.config import Size
from liquid_mlx.errors import SettingsError, UsageError

from ..read.tensor import FLOATS

# Bits and group sizes that MLX has, the default first.
MODES = {
    "affine": ((4, 2, 3, 5, 6, 8), (64, 32, 128)),
    "mxfp4": ((4,), (32,)),
    "nvfp4": ((4,), (16,)),
    "mxfp8": ((8,), (32,)),
}
# mlx-lm's mixed recipes: name -> bits of most layers, bits of the sensitive ones.
MIXED = {"mixed_2_6": (2, 6), "mixed_3_4": (3, 4), "mixed_3_6": (3, 6), "mixed_4_6": (4, 6)}
EMBED_BITS = (8, 2, 3, 4, 5, 6, 16)


@dataclass(frozen=True)
class Options:
    """What is asked of a conversion; ``liquid_mlx.convert.plan`` describes each.

    Raises:
        SettingsError: a value is outside its range.
        UsageError: two options cannot be combined.
    """

    vqgan: str | Path | None = None
    revision: str | None = None
    dtype: str | None = None
    quantize: bool = False
    q_bits: int | None = None
    q_group_size: int | None = None
    q_mode: str = "affine"
    quant_predicate: str | None = None
    embed_bits: int = 8
    dequantize: bool = False
    vqgan_dtype: str | None = None
    sizes: Sequence[Size | str] = ()
    interleaved: bool = False
    adapter: str | Path | None = None

    def __post_init__(self) -> None:
        _choice("dtype", self.dtype, (None, *FLOATS))
        _choice("vqgan_dtype", self.vqgan_dtype, (None, "float32", "float16"))
        _choice("q_mode", self.q_mode, tuple(MODES))
        bits, group_sizes = MODES[self.q_mode]
        _choice(f"q_bits of {self.q_mode}", self.q_bits, (None, *sorted(bits)))
        _choice(f"q_group_size of {self.q_mode}", self.q_group_size, (None, *sorted(group_sizes)))
        _choice("quant_predicate", self.quant_predicate, (None, *MIXED))
        _choice("embed_bits", self.embed_bits, tuple(sorted(EMBED_BITS)))
        settings = self.q_bits, self.q_group_size, self.quant_predicate
        if not self.quantize and (any(settings) or self.q_mode != "affine"):
            raise UsageError("Quantization options need --quantize (-q).")
        if self.quantize and self.dequantize:
            raise UsageError("--quantize and --dequantize cannot be combined.")
        if self.quant_predicate and (
            self.q_mode != "affine" or self.q_bits not in (None, MIXED[self.quant_predicate][0])
        ):
            raise UsageError(f"{self.quant_predicate} sets mode and bits itself: leave those out.")

    @property
    def pixel_sizes(self) -> list[Size]:
        """``sizes``, parsed; raises SettingsError if one is not a size."""
        return [size if isinstance(size, Size) else Size.parse(size) for size in self.sizes]


def _choice(name: str, value: object, choices: tuple[Any, ...]) -> None:
    """Raise SettingsError unless ``value`` is one of ``choices``; True is not the number 1."""
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        shown = ", ".join(str(choice) for choice in choices if choice is not None)
        raise SettingsError(f"{name} must be one of {shown}, not {str(value)[:100]!r}.")
