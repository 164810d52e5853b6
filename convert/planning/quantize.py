"""What becomes of each part: its dtype, and how it is quantized, if it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from liquid_mlx.nn.linear import Quantization

from .options import MIXED, MODES, Options

_LAYER = re.compile(r"model\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Recipe:
    """The dtype and quantization of every part of a converted model.

    The embedding and an untied head hold the codes' rows, which decide what a picture looks like:
    they get ``embed_bits`` (affine), 16 to keep them as they are. ``quantization`` None keeps all.
    """

    dtype: str | None = None
    quantization: Quantization | None = None
    mixed: str | None = None
    embed_bits: int = 8

    def quantization_of(self, path: str, width: int, layers: int) -> Quantization | None:
        """How a module's matrix is quantized; None: it is kept, also if its groups do not fit."""
        wanted = self._wanted(path, width, layers)
        return None if wanted is None or width % wanted.group_size else wanted

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


def make_recipe(options: Options) -> Recipe:
    """The recipe that the options ask for."""
    if not options.quantize:
        return Recipe(options.dtype)
    bits, group_sizes = MODES[options.q_mode]
    mixed = options.quant_predicate
    base = Quantization(
        MIXED[mixed][0] if mixed else options.q_bits or bits[0],
        options.q_group_size or group_sizes[0],
        options.q_mode,
    )
    return Recipe(options.dtype, base, mixed, options.embed_bits)
