"""What a quantization or an adapter costs, without any data set: two models on the same sequences.

Sequences come from the first model: prompts are captions of what it draws without a prompt, each
is drawn with its own settings, and each picture captioned. Both models then read them (teacher
forcing), and their predictions are compared place by place. One model is in memory at a time.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from liquid_mlx.config import LiquidConfig
from liquid_mlx.errors import UsageError
from liquid_mlx.evaluation import teacher
from liquid_mlx.evaluation.figures import Groups, Row, Scored, Sums
from liquid_mlx.evaluation.page import inline
from liquid_mlx.evaluation.report import INTERVAL, report
from liquid_mlx.evaluation.teacher import Drawn, Ids, Logits, Progress
from liquid_mlx.images import ImageSource
from liquid_mlx.memory import weight_bytes
from liquid_mlx.model import Liquid, load

if TYPE_CHECKING:
    from PIL import Image

COUNT = 16  # sequences
SHOWN = 6  # pairs of pictures in a report
POINTS = 64  # of a curve


@dataclass
class Run:
    """What one model did with all sequences."""

    ids: list[Ids] = field(default_factory=list)
    images: list[Image.Image] = field(default_factory=list)  # of the sequences' codes
    drawn: list[Image.Image] = field(default_factory=list)  # anew, of the first prompts
    rebuilt: list[float] = field(default_factory=list)  # squared error of encoding these again
    facts: dict[str, Any] = field(default_factory=dict)


def compare(
    first: str,
    second: str,
    *,
    count: int = COUNT,
    prompts: Sequence[str] | None = None,
    pairs: Sequence[tuple[ImageSource, str]] | None = None,
    seed: int = 0,
    guidance: float | None = None,
    dtype: str | None = None,
    adapter: Sequence[str] = (),
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """A report of how far the second model is from the first.

    Args:
        first, second: models as ``load`` takes them.
        count: how many sequences are drawn.
        prompts: instead of the first model's own; one sequence each.
        pairs: pictures with captions, instead of drawn sequences.
        seed: of the sequences; also of the intervals, which resample sequences.
        guidance: for drawing, and of the guided distribution; None is the first model's own.
        adapter: of the second model, as ``load`` takes it.

    Raises:
        UsageError: the models do not share their vocabulary.
        LiquidError: as ``load`` and ``Liquid.generate_images``.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        mx.reset_peak_memory()
        liquid = load(first, dtype=dtype)
        drawn = _sequences(liquid, count, prompts, pairs, seed, guidance, progress)
        scale = liquid.config.recommended.guidance if guidance is None else guidance
        config, stop = liquid.config, sorted(liquid.engine.stop)
        one = _run(liquid, drawn, folder, progress, first, seed, guidance, None)
        del liquid
        mx.clear_cache()
        mx.reset_peak_memory()
        liquid = load(second, dtype=dtype, adapter=adapter)
        _check(config, liquid.config)
        rows = _Rows(folder, one, scale, stop)
        other = _run(liquid, drawn, None, progress, second, seed, guidance, rows)
    scored = Scored("compare", _parts(rows, one, other), _figures)
    return report(
        "compare",
        model=f"{second} against {first}",
        scores=scored.exact(),
        intervals=scored.intervals(seed),
        interval=f"{INTERVAL} of sequences, seed {seed}",
        first=one.facts,
        second=other.facts,
        settings={
            "sequences": len(drawn),
            "from": "given pairs" if pairs else "given prompts" if prompts else "the first model",
            "guidance": scale,
            "seed": seed,
            **({"adapter": ", ".join(adapter)} if adapter else {}),
        },
        curves=rows.curves(),
        pictures=_pictures(drawn, one, other),
    )


def _sequences(
    liquid: Liquid,
    count: int,
    prompts: Sequence[str] | None,
    pairs: Sequence[tuple[ImageSource, str]] | None,
    seed: int,
    guidance: float | None,
    progress: Progress,
) -> list[Drawn]:
    if pairs:
        return teacher.encode_pairs(liquid, pairs, progress)
    texts = list(prompts or teacher.own_prompts(liquid, count, seed, progress))
    return teacher.draw_sequences(liquid, texts, seed, guidance, progress)


def _check(first: LiquidConfig, second: LiquidConfig) -> None:
    """Raise UsageError unless two models have the same ids for the same things."""
    for what, of in (
        ("image vocabulary", lambda c: (c.image_offset, c.vqgan.n_embed)),
        ("special tokens", lambda c: dict(c.special)),
        ("image size", lambda c: (c.sizes[0], c.grid(c.sizes[0]))),
    ):
        if of(first) != of(second):
            raise UsageError(f"The models cannot be compared: they differ in their {what}.")


def _run(
    liquid: Liquid,
    drawn: Sequence[Drawn],
    folder: Path | None,
    progress: Progress,
    name: str,
    seed: int,
    guidance: float | None,
    rows: _Rows | None,
) -> Run:
    """Read the sequences: keep logits in a folder, or compare them with those kept."""
    run = Run()
    for i, sequence in enumerate(drawn):
        progress(f"reading with {name}", i, len(drawn))
        ids = teacher.token_ids(liquid, sequence)
        logits = teacher.predict(liquid, ids)
        run.ids.append(ids)
        if folder is not None:
            np.savez(folder / f"{i}.npz", **vars(logits))
        if rows is not None:
            rows.add(i, ids, logits)
        image = liquid.decode(sequence.codes)
        run.images.append(image)
        run.rebuilt.append(_squared(image, liquid.decode(liquid.codes(image))))
    run.facts, run.drawn = _facts(liquid, name, drawn[:SHOWN], seed, guidance, progress)
    return run


def _facts(
    liquid: Liquid,
    name: str,
    some: Sequence[Drawn],
    seed: int,
    guidance: float | None,
    progress: Progress,
) -> tuple[dict[str, Any], list[Image.Image]]:
    """The model's size, memory and speed, and what it draws for these sequences' prompts."""
    started = time.perf_counter()
    prompts = [sequence.prompt for sequence in some]
    for step in liquid.stream_images(prompts, seeds=seed, guidance=guidance, batch_size=len(some)):
        progress(f"timing {name}", step.position, step.total)
    drawing = time.perf_counter() - started
    started, tokens = time.perf_counter(), 0
    for sequence in some:
        text = teacher.caption_codes(liquid, sequence.codes, seed)
        tokens += len(liquid.prompts.reply(text)) + 1 if text else 1
    writing = time.perf_counter() - started
    weights = weight_bytes(liquid.engine.backbone, liquid.engine.backbone.dtype)
    quantization = liquid.config.quantization or {}
    facts = {
        "model": name,
        "bits": quantization.get("bits"),
        "mode": quantization.get("mode"),
        "dtype": str(liquid.engine.backbone.dtype).removeprefix("mlx.core."),
        "weights_bytes": weights + weight_bytes(liquid.vqgan, mx.float32),
        "peak_memory_bytes": mx.get_peak_memory(),
        "codes_per_second": step.total * len(some) / drawing,
        "text_tokens_per_second": tokens / writing,
    }
    return facts, [drawn.image for drawn in step.images()]


class _Rows:
    """The comparison of every sequence, as sums over its places."""

    KINDS = ("conditional", "unconditional", "guided", "text")

    def __init__(self, folder: Path, first: Run, guidance: float, stop: Sequence[int]):
        self._folder, self._first = folder, first
        self._guidance, self._stop = guidance, stop
        self.rows: dict[str, list[Row]] = {kind: [] for kind in (*self.KINDS, "caption")}
        self._places: dict[str, list[np.ndarray]] = {kind: [] for kind in self.KINDS[:3]}

    def add(self, i: int, ids: Ids, second: Logits) -> None:
        if ids != self._first.ids[i]:
            raise UsageError("The models cannot be compared: they split texts into other tokens.")
        with np.load(self._folder / f"{i}.npz") as kept:
            first = Logits(kept["conditional"], kept["unconditional"], kept["text"])
        pairs = {
            "conditional": (first.conditional, second.conditional),
            "unconditional": (first.unconditional, second.unconditional),
            "guided": (self._guided(first), self._guided(second)),
            "text": (first.text, second.text),
        }
        for kind, (a, b) in pairs.items():
            found = teacher.difference(a, b)
            self.rows[kind].append((found.kl.sum(), float(found.agree.sum()), len(found.kl)))
            if kind in self._places:
                self._places[kind].append(found.kl)
        likelihoods = [
            teacher.negative_log_likelihood(logits.text, ids, self._stop)
            for logits in (first, second)
        ]
        self.rows["caption"].append((*likelihoods, len(ids.caption) + 1))

    def _guided(self, logits: Logits) -> np.ndarray:
        free = logits.unconditional
        guided: np.ndarray = free + (logits.conditional - free) * self._guidance
        return guided

    def curves(self) -> dict[str, Any]:
        """KL along the picture, in pieces of equal length."""
        lines = {}
        for kind, found in self._places.items():
            mean = np.mean(found, axis=0)
            pieces = np.array_split(mean, min(POINTS, len(mean)))
            starts = np.cumsum([0, *map(len, pieces)])
            lines[kind] = [
                [float(start), float(piece.mean())]
                for start, piece in zip(starts, pieces, strict=False)
            ]
        return {"KL by place": {"x": "code", "y": "KL in nats", "lines": lines}}


def _parts(rows: _Rows, first: Run, second: Run) -> dict[str, list[Row]]:
    between = [_squared(a, b) for a, b in zip(first.images, second.images, strict=True)]
    errors = zip(between, first.rebuilt, second.rebuilt, strict=True)
    return {**rows.rows, "tokenizer": [(*three, 1) for three in errors]}


def _figures(sums: Sums) -> Groups:
    found: Groups = {}
    for kind in _Rows.KINDS:
        kl, agree, places = sums[kind]
        found[kind] = {"kl": kl / places, "top1": agree / places, "places": round(places)}
    one, two, places = sums["caption"]
    found["caption"] = {
        "perplexity_first": math.exp(one / places),
        "perplexity_second": math.exp(two / places),
    }
    between, first, second, count = sums["tokenizer"]
    found["tokenizer"] = {
        "psnr": _psnr(between / count),
        "psnr_rebuilt_first": _psnr(first / count),
        "psnr_rebuilt_second": _psnr(second / count),
    }
    return found


def _squared(one: Image.Image, other: Image.Image) -> float:
    """Mean squared difference of two pictures' values 0 to 255."""
    a, b = (np.asarray(image.convert("RGB"), dtype=np.float64) for image in (one, other))
    return float(((a - b) ** 2).mean())


def _psnr(squared: float) -> float | None:
    """Decibels; None for pictures without a difference."""
    return 10 * math.log10(255**2 / squared) if squared else None


def _pictures(drawn: Sequence[Drawn], first: Run, second: Run) -> list[dict[str, str]]:
    """What both draw for the same prompts, seeds and settings."""
    return [
        {"file": inline(image), "text": f"{name}: {drawn[i].prompt}"}
        for i, images in enumerate(zip(first.drawn, second.drawn, strict=True))
        for name, image in zip(("first", "second"), images, strict=True)
    ]
