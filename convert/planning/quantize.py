"""What becomes of each part: its dtype, and how it is quantized, if it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from liquid_mlx.errors import SettingsError
from liquid_mlx.nn.linear import Quantization

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

_LAYER = re.compile(r"model\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Recipe:
    """The form of every part of a converted model.

    The embedding and an untied head hold the codes' rows, which decide what a picture looks like:
    they get ``embed_bits`` (affine), 16 to keep them as they are. ``quantization`` None keeps all.
    """

    dtype: str | None = None
    quantization: Quantization | None = None
    mixed: str | None = None
    embed_bits: int = 8

    def form(self, path: str, width: int, layers: int) -> Quantization | None:
        """How the matrix of a module is packed; None: kept, also if its groups do not fit."""
        form = self._wanted(path, width, layers)
        return None if form is None or width % form.group_size else form

    def _wanted(self, path: str, width: int, layers: int) -> Quantization | None:
        base = self.quantization
        if base is None:
            return None
        layer = _LAYER.match(path)
        if not layer:
            if self.embed_bits == 16:
                return None
            size = base.group_size if base.mode == "affine" else 64 if width % 64 == 0 else 32
            return Quantization(self.embed_bits, size)
        if self.mixed and sensitive(path, int(layer[1]), layers):
            return Quantization(MIXED[self.mixed][1], base.group_size)
        return base


def sensitive(path: str, layer: int, layers: int) -> bool:
    """Whether mlx-lm's mixed recipes give this module more bits.

    They are values and down projections of the first and last eighth of the layers, and of every
    third layer between (llama.cpp's Q4_K_M has the same idea).
    """
    eighth = layers // 8
    chosen = layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
    return chosen and path.endswith(("v_proj", "down_proj"))


def make_recipe(
    *,
    dtype: str | None = None,
    quantize: bool = False,
    q_bits: int | None = None,
    q_group_size: int | None = None,
    q_mode: str = "affine",
    quant_predicate: str | None = None,
    embed_bits: int = 8,
    vqgan_dtype: str | None = None,
) -> Recipe:
    """A recipe from options named as in ``mlx_lm.convert``.

    Raises:
        SettingsError: an option is unknown, or does not go with another one.
    """
    _choice("dtype", dtype, (None, *FLOATS))
    _choice("vqgan_dtype", vqgan_dtype, (None, "float32", "float16"))
    _choice("q_mode", q_mode, tuple(MODES))
    bits, sizes = MODES[q_mode]
    _choice(f"q_bits of {q_mode}", q_bits, (None, *sorted(bits)))
    _choice(f"q_group_size of {q_mode}", q_group_size, (None, *sorted(sizes)))
    _choice("quant_predicate", quant_predicate, (None, *MIXED))
    _choice("embed_bits", embed_bits, tuple(sorted(EMBED_BITS)))
    if not quantize:
        if q_bits or q_group_size or quant_predicate or q_mode != "affine":
            raise SettingsError("Quantization options need --quantize (-q).")
        return Recipe(dtype)
    base = Quantization(q_bits or bits[0], q_group_size or sizes[0], q_mode)
    if quant_predicate:
        if q_mode != "affine" or q_bits not in (None, MIXED[quant_predicate][0]):
            raise SettingsError(f"{quant_predicate} sets mode and bits itself: leave those out.")
        base = Quantization(MIXED[quant_predicate][0], base.group_size)
    return Recipe(dtype, base, quant_predicate, embed_bits)


def _choice(name: str, value: object, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        shown = ", ".join(str(choice) for choice in choices if choice is not None)
        raise SettingsError(f"{name} must be one of {shown}, not {value!r}.")
