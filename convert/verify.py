"""Compare a written folder with its source: a forward pass, a decoded patch, errors by part.

Both models are streamed through the same modules, a block of rows at a time, so that a checkpoint
larger than memory can be compared. Products of packed matrices are MLX's, as when the model runs;
others are NumPy's, whose BLAS is fast on every platform.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from liquid_mlx.backbone import Backbone, KVCache
from liquid_mlx.config import BackboneConfig, LiquidConfig, VQGANConfig
from liquid_mlx.convert.ahead import ahead
from liquid_mlx.convert.describe import Verification, kind_of
from liquid_mlx.convert.names import EMBEDDING, backbone_shapes
from liquid_mlx.convert.origin import Origin, open_origin
from liquid_mlx.convert.parts import BLOCK, Part
from liquid_mlx.convert.planning import Plan
from liquid_mlx.convert.sources import Packed
from liquid_mlx.convert.stored import Rows
from liquid_mlx.errors import CheckpointError
from liquid_mlx.vqgan import VQGAN

RUNS, RUN = 4, 16
PATCH = 2


def verify(plan: Plan, folder: Path) -> Verification:
    """Open a converted folder strictly and compare it with what it was made from.

    Raises:
        CheckpointError: the folder does not open, or differs from its source by more than its
            quantization explains.
    """
    written = open_origin(folder)
    expected = replace(plan.config, quantization=plan.config_json.get("quantization"))
    if written.converted != expected:
        raise CheckpointError(f"{folder / 'config.json'} is not what was written.")
    errors = _errors(plan.parts, written) | _pixel_errors(plan.vqgan_parts, written)
    source = {part.name: part.source for part in plan.parts}
    tokens = _tokens(plan.config)
    before = _logits(plan.config.backbone, source, tokens)
    after = _logits(plan.config.backbone, written.tensors, tokens)
    cosines = (before * after).sum(-1) / np.sqrt((before**2).sum(-1) * (after**2).sum(-1))
    found = Verification(
        errors,
        float(cosines.min()),
        float((before.argmax(-1) == after.argmax(-1)).mean()),
        _patch_difference(plan, written),
    )
    _judge(found, plan, folder)
    return found


def _judge(found: Verification, plan: Plan, folder: Path) -> None:
    """Values that no quantization explains: unrelated matrices have an error of 1.4."""
    strange = [kind for kind, error in found.errors.items() if not error < 1]
    if strange or not math.isfinite(found.cosine) or not found.pixels < 128:
        raise CheckpointError(
            f"The written model differs from its source ({', '.join(strange) or 'outputs'}): is "
            f"{folder.parent} on a sound disk?"
        )


def _errors(parts: Sequence[Part], written: Origin) -> dict[str, float]:
    offset = written.converted.image_offset if written.converted else 0
    sums: dict[str, np.ndarray] = {}
    for part in parts:
        height = part.source.shape[0]
        kinds = {kind_of(part): (0, height)}
        if part.name == EMBEDDING:
            kinds = {"text rows": (0, offset), "image rows": (offset, height)}
        for kind, (start, stop) in kinds.items():
            for rows in _sampled(start, stop) if len(part.source.shape) == 2 else [(start, stop)]:
                a = _float32(part.source.rows(*rows))
                b = _float32(written.tensors[part.name].rows(*rows))
                pair = np.array([((a - b) ** 2).sum(), (a**2).sum()], np.float64)
                sums[kind] = sums.get(kind, np.zeros(2)) + pair
    return {kind: float(np.sqrt(off / max(size, 1e-30))) for kind, (off, size) in sums.items()}


def _pixel_errors(parts: Sequence[Part], written: Origin) -> dict[str, float]:
    """The same for the image tokenizer, whole: it is small."""
    off = size = 0.0
    for part in parts:
        a = _float32(part.whole())
        b = _float32(_all_rows(written.vqgan_tensors[part.name]))
        off += float(((a - b) ** 2).sum())
        size += float((a**2).sum())
    return {"image tokenizer": math.sqrt(off / max(size, 1e-30))}


def _sampled(start: int, stop: int) -> list[tuple[int, int]]:
    """A few runs of rows, the first and the last among them."""
    firsts = np.linspace(start, max(start, stop - RUN), RUNS).astype(int).tolist()
    return [(first, min(first + RUN, stop)) for first in sorted(set(firsts))]


def _all_rows(tensor: Rows) -> mx.array:
    return tensor.rows(0, tensor.shape[0])


def _float32(array: mx.array) -> np.ndarray:
    return np.asarray(array.astype(mx.float32))


def _tokens(config: LiquidConfig) -> list[int]:
    """The start of a picture: the unconditional prompt and a code."""
    special = [config.special["unconditional"], config.special["boi"]]
    return [*special, config.image_offset + config.vqgan.n_embed // 2]


class _Streamed(nn.Module):
    """A linear layer, an embedding or a head whose matrix stays in its file."""

    def __init__(self, source: Rows):
        super().__init__()
        self._source = source

    def __call__(self, x: mx.array) -> mx.array:
        height, width = self._source.shape
        rows = x.astype(mx.float32).reshape(-1, width)
        mx.eval(rows)
        product = np.empty((height, rows.shape[0]), np.float32)
        for (start, stop), (block,) in ahead(self._blocks(rows)):
            if isinstance(self._source, Packed):
                product[start:stop] = np.asarray(block).T
            else:
                np.matmul(np.asarray(block), np.asarray(rows).T, product[start:stop])
        out = mx.array(product.T).reshape(*x.shape[:-1], height)
        return out + self.bias if "bias" in self else out

    def _blocks(self, rows: mx.array) -> Iterator[tuple[tuple[int, int], list[mx.array]]]:
        """Blocks of the products if the matrix is packed, else of the matrix in float32."""
        height, width = self._source.shape
        step = max(1, BLOCK // width)
        for start in range(0, height, step):
            stop = min(start + step, height)
            if isinstance(self._source, Packed):
                yield (start, stop), [self._source.products(start, stop, rows)]
            else:
                yield (start, stop), [self._source.rows(start, stop).astype(mx.float32)]

    def lookup(self, ids: mx.array) -> mx.array:
        rows = [self._source.rows(i, i + 1) for i in np.asarray(ids).reshape(-1).tolist()]
        return mx.concatenate(rows).astype(mx.float32).reshape(*ids.shape, -1)

    def rows(self, start: int, stop: int) -> _Streamed:
        """All rows: a head of a part of them is not needed here."""
        assert (start, stop) == (0, self._source.shape[0])
        return self


def _logits(
    config: BackboneConfig, tensors: Mapping[str, Rows], tokens: Sequence[int]
) -> np.ndarray:
    """Logits [T, vocabulary] of a model whose matrices stay in their files."""
    backbone = Backbone(config)
    for name, shape in backbone_shapes(config).items():
        *path, owner, leaf = name.split(".")
        parent: Any = backbone
        for step in path:
            parent = parent[int(step)] if step.isdigit() else parent[step]
        if len(shape) == 2:
            parent[owner] = _Streamed(tensors[name])
        else:
            parent[owner][leaf] = tensors[name].rows(0, shape[0]).astype(mx.float32)
    cache = KVCache.empty(config, 1, len(tokens), mx.float32)
    hidden = backbone(mx.array([tokens]), cache)
    return np.asarray(backbone.head()(hidden)[0])


def _patch_difference(plan: Plan, written: Origin) -> float:
    """The largest difference of a patch of pixels decoded by the source's and the new weights."""
    parts = [p for p in plan.vqgan_parts if not p.name.startswith(("encoder.", "quant_conv."))]
    before = ((part.name, part.whole()) for part in parts)
    after = ((part.name, _all_rows(written.vqgan_tensors[part.name])) for part in parts)
    patches = [_patch(plan.config.vqgan, weights) for weights in (before, after)]
    return float(np.abs(patches[0] - patches[1]).max() * 127.5)


def _patch(config: VQGANConfig, weights: Iterable[tuple[str, mx.array]]) -> np.ndarray:
    vqgan = VQGAN(config)
    floats = [(name, array.astype(mx.float32)) for name, array in weights]
    vqgan.load_weights(floats, strict=False)  # names were checked, and the encoder stays out
    codes = np.linspace(0, config.n_embed - 1, PATCH * PATCH).astype(np.int32)
    grid = mx.array(codes.reshape(1, PATCH, PATCH))
    return np.asarray(mx.clip(vqgan.decode(grid), -1, 1))
