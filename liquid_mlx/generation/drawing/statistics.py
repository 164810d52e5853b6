"""What the model thought at each code of a picture: one pass over it, after it was drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import mlx.core as mx
import numpy as np
from PIL import Image, ImageDraw

from liquid_mlx.config import Size
from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.likelihood import code_logits
from liquid_mlx.generation.prefill import prefill
from liquid_mlx.generation.sampling import distribution
from liquid_mlx.kernels.sampler import apply_guidance
from liquid_mlx.memory import limits
from liquid_mlx.params import ImageParams

# From little to much; dark to light, so that it reads in grey, too (after matplotlib's inferno).
_RAMP = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
_PANEL, _MARGIN, _LINE = 160, 8, 12  # pixels


@dataclass(frozen=True)
class CodeStatistics:
    """One value for each code of a picture; all are [rows, columns].

    Attributes:
        entropy: of the distribution that the code is sampled from, in nats; float32, 0 or more.
        probability: of the code in it; float32, 0 to 1.
        rank: of the code among all by its guided logit; int32, 1 is the likeliest.
        log_probability: natural, of the code under the prompt alone: without guidance, temperature
            or filters; float32. The sum is the picture's.
        guidance: what guidance adds to that; float32, 0 without guidance.
    """

    entropy: np.ndarray
    probability: np.ndarray
    rank: np.ndarray
    log_probability: np.ndarray
    guidance: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: lists of rows."""
        return {name: values.tolist() for name, values in asdict(self).items()}

    def heat_map(self, image: Image.Image) -> Image.Image:
        """The picture, and beside it each of the statistics over its codes, dark is little."""
        maps = {
            "entropy": self.entropy,
            "probability": self.probability,
            "log10 of rank": np.log10(self.rank),
            "log probability": self.log_probability,
            "guidance": self.guidance,
        }
        height = max(_PANEL, image.height)
        width = round(image.width * height / image.height)
        step = width + _MARGIN
        whole = (_MARGIN + step * (len(maps) + 1), height + 2 * _MARGIN + 2 * _LINE)
        sheet = Image.new("RGB", whole, "white")
        sheet.paste(image.resize((width, height), Image.Resampling.NEAREST), (_MARGIN, _MARGIN))
        draw = ImageDraw.Draw(sheet)
        for i, (name, values) in enumerate(maps.items(), 1):
            left = _MARGIN + i * step
            cells = _coloured(values).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(cells, (left, _MARGIN))
            draw.text((left, height + _MARGIN), name, fill="black")
            span = f"{values.min():.3g} to {values.max():.3g}"
            draw.text((left, height + _MARGIN + _LINE), span, fill="black")
        return sheet


def _coloured(values: np.ndarray) -> Image.Image:
    """A pixel for each value, from the darkest for the least to the lightest for the largest."""
    low, high = float(values.min()), float(values.max())
    share = (values - low) / (high - low) if high > low else np.zeros(values.shape)
    stops = np.linspace(0, 1, len(_RAMP))
    channels = [np.interp(share, stops, [tone[c] for tone in _RAMP]) for c in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def code_statistics(
    engine: Engine, ids: list[int], size: Size, params: ImageParams, codes: np.ndarray
) -> CodeStatistics:
    """What the sampler makes of codes int [rows, columns] behind a prompt's ids.

    The logits are those that drawing them has, computed all at once: in float32 they may differ in
    the last bits.
    """
    with limits():
        pieces = list(_pieces(engine, ids, size, params, codes.reshape(1, -1)))
    kinds = [np.int32 if field.name == "rank" else np.float32 for field in fields(CodeStatistics)]
    return CodeStatistics(
        *(
            np.concatenate(values).astype(kind).reshape(codes.shape)
            for values, kind in zip(zip(*pieces, strict=True), kinds, strict=True)
        )
    )


def _pieces(
    engine: Engine, ids: list[int], size: Size, params: ImageParams, codes: np.ndarray
) -> Iterator[tuple[np.ndarray, ...]]:
    """The statistics of some positions after the others, in the order of ``CodeStatistics``."""
    behind = code_logits(engine, prefill(engine.backbone, ids), codes)
    guided = params.guidance > 1
    alone = code_logits(engine, engine.unconditional(size), codes) if guided else None
    start = 0
    for logits in behind:
        conditional = logits[0]  # [some positions, n]
        z = apply_guidance(conditional, None if alone is None else next(alone)[0], params.guidance)
        stop = start + len(z)
        drawn = mx.array(codes[0, start:stop].astype(np.int32))[:, None]

        def of_drawn(values: mx.array, drawn: mx.array = drawn) -> mx.array:
            return mx.take_along_axis(values, drawn, axis=-1)[:, 0]

        shares = distribution(
            z, temperature=params.temperature, top_k=params.top_k, top_p=params.top_p
        )
        surprise = -mx.log(mx.where(shares > 0, shares, 1))
        own = of_drawn(conditional) - mx.logsumexp(conditional, axis=-1)
        yield (
            np.array((shares * surprise).sum(axis=-1)),
            np.array(of_drawn(shares)),
            np.array((z > of_drawn(z)[:, None]).sum(axis=-1) + 1),
            np.array(own),
            np.array(of_drawn(z) - mx.logsumexp(z, axis=-1) - own),
        )
        start = stop
