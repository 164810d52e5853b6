"""Compare a written folder with its source: a forward pass, a decoded patch, errors by part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import mlx.core as mx
import numpy as np

from liquid_mlx.config import VQGANConfig
from liquid_mlx.errors import CheckpointError
from liquid_mlx.nn.vqgan import VQGAN

from .planning.plan import Plan
from .planning.tensor import Part, kind_of
from .progress import Clock
from .read.checkpoint import Origin, open_origin
from .read.layout import EMBEDDING
from .read.tensor import Rows
from .streamed_forward import multiply_stored, streamed_logits

RUNS, RUN = 4, 16
PATCH = 2


def bytes_to_verify(plan: Plan) -> int:
    """Bytes of the matrices that ``verify`` multiplies: what it reports to its clock."""
    return sum(part.nbytes for part in plan.parts if len(part.source.shape) == 2)


def verify(plan: Plan, folder: Path, logits: np.ndarray, clock: Clock) -> Verification:
    """Open a converted folder strictly and compare it with what it was made from.

    Args:
        plan: what was to be written.
        folder: what was written.
        logits: of the source, from ``write_folder``.
        clock: told of ``bytes_to_verify`` bytes.

    Raises:
        CheckpointError: the folder does not open, or differs from its source by more than its
            quantization explains.
    """
    written = open_origin(folder)
    expected = replace(plan.config, quantization=plan.config_json.get("quantization"))
    if written.converted != expected:
        raise CheckpointError(f"{folder / 'config.json'} is not what was written.")
    errors = _errors(plan.parts, written) | _pixel_errors(plan.vqgan_parts, written)
    now = _logits(plan, written, clock)
    cosines = (logits * now).sum(-1) / np.sqrt((logits**2).sum(-1) * (now**2).sum(-1))
    found = Verification(
        errors,
        float(cosines.min()),
        float((logits.argmax(-1) == now.argmax(-1)).mean()),
        _patch_difference(plan, written),
    )
    _judge(found, plan, folder)
    return found


def _logits(plan: Plan, written: Origin, clock: Clock) -> np.ndarray:
    def multiply(name: str, x: mx.array) -> Iterator[mx.array]:
        yield from multiply_stored(written.tensors[name], x)
        clock.tick("comparing", written.tensors[name].nbytes)

    return streamed_logits(plan.config, written.tensors, multiply)


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


@dataclass(frozen=True)
class Verification:
    """How far a converted model is from its source.

    ``errors`` is |written - source| / |source| by kind of part, over rows spread through each
    matrix; ``cosine`` the lowest of the logits' cosines over a few positions, ``agreement`` the
    share of positions with the same most likely id, ``pixels`` the largest difference of a decoded
    patch on the scale 0 to 255.
    """

    errors: Mapping[str, float] = field(default_factory=dict)
    cosine: float = 1.0
    agreement: float = 1.0
    pixels: float = 0.0
