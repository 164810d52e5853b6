"""Jobs of pictures, drawn batch by batch: one of each prompt, or the best of its candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from typing import Any

import mlx.core as mx
import numpy as np
from PIL import Image

from liquid_mlx import memory
from liquid_mlx._version import __version__
from liquid_mlx.config import LiquidConfig, Size
from liquid_mlx.distributed.exchange import agreed, least
from liquid_mlx.distributed.shards import Shard
from liquid_mlx.errors import UsageError
from liquid_mlx.generation.answer import check_length
from liquid_mlx.generation.best_of import (
    BestOf,
    Candidate,
    Picture,
    best_record,
    better_half,
    kept_behind,
    prompt_gain,
    ranked,
    scores,
)
from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.image import Draw, Steps
from liquid_mlx.generation.jacobi import Window, check_window
from liquid_mlx.images import ImageSource
from liquid_mlx.memory import limits, weight_bytes
from liquid_mlx.nn.vqgan import VQGAN
from liquid_mlx.params import MAX_COUNT, SEEDS, ImageParams, integer
from liquid_mlx.prompts import INSTRUCTIONS, Prompts
from liquid_mlx.results import CodesStep, ImageSettings, ImageStep

MOST_IMAGES = 64  # drawn at once unless asked for


Ids = Mapping[str, list[int]]  # of each prompt


@dataclass(frozen=True)
class Job:
    """Pictures to draw: a prompt and a seed for each, and what all have in common.

    Attributes:
        batch_size: pictures drawn at once; None: as many as fit memory.
        given: int [positions], codes that are kept in all; -1 is drawn.
        renewing, strength: seeds of variations, see ``Draw``.
        steered: goes into the settings of every picture.
    """

    prompts: Sequence[str]
    seeds: Sequence[int]
    params: ImageParams
    size: Size
    instruction: int = 1
    window: Window = 1
    batch_size: int | None = None
    given: np.ndarray | None = None
    best_of: BestOf = field(default_factory=BestOf)
    renewing: Sequence[int] = ()
    strength: float = 0.0
    steered: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        best = self.best_of
        check_window(self.window)
        if self.given is not None and self.window != 1:
            raise UsageError("window and keep cannot be combined.")
        if best.candidates > 1 and best.prune and self.window != 1:
            raise UsageError("window and prune cannot be combined.")
        if len(self.prompts) * best.candidates > MAX_COUNT:
            raise UsageError(f"These are more than {MAX_COUNT} images: ask for fewer.")
        judged = best.candidates > 1 and best.judge == "kept"
        if judged and (self.given is None or not kept_behind(self.given).size):
            raise UsageError("Nothing stays behind what is drawn to judge it by: give a mask.")


class Batches(ABC):
    """What draws jobs; the model itself is that of the class which inherits this."""

    config: LiquidConfig
    name: str
    adapters: tuple[str, ...]  # that lie over the model
    prompts: Prompts
    vqgan: VQGAN
    _low_ram: bool  # free the language model before pixels are decoded
    _shard: Shard  # which part of the language model this process holds
    _dtype: mx.Dtype  # of the language model, also while it is not in memory
    # What draws in place of ``engine.draw``: a server's batch, whose steps many requests share.
    drawn_by: Callable[[Sequence[list[int]], Draw, Size, int], Steps] | None = None

    @property
    @abstractmethod
    def engine(self) -> Engine: ...

    @abstractmethod
    def _free(self) -> None:
        """With ``low_ram``: let the language model go."""

    @abstractmethod
    def codes(self, picture: ImageSource | np.ndarray, size: Size | None = None) -> np.ndarray:
        """Codes int32 [rows, columns] for a picture of one of the model's sizes."""

    @abstractmethod
    def decode(self, codes: np.ndarray) -> Image.Image:
        """The image of codes int [rows, columns]."""

    def _stream(self, job: Job) -> Iterator[ImageStep]:
        """Check everything, then draw batch after batch."""
        rows, columns = self.config.grid(job.size)
        number = integer("instruction", job.instruction, 1, len(INSTRUCTIONS), "use 1 to 10")
        ids = {
            prompt: self.prompts.draw(prompt, job.size, number)
            for prompt in dict.fromkeys(job.prompts)
        }
        length = max(map(len, ids.values())) + rows * columns
        check_length(self.engine, length)
        each = 1 + (job.params.guidance > 1)
        batch_size = job.batch_size
        if batch_size is None:
            used = weight_bytes(self.engine.backbone, self._dtype)
            used += weight_bytes(self.vqgan, mx.float32)
            fitting = memory.images_at_once(
                self._part(), used, each, length, job.size, self._dtype, MOST_IMAGES
            )
            batch_size = least(fitting, self._shard)
        most = len(job.prompts) * job.best_of.candidates
        self._check_memory(min(batch_size, most) * each, length, job.size)
        if job.best_of.candidates > 1:
            return self._best(job, ids, batch_size)
        return self._every(job, ids, batch_size)

    def _every(self, job: Job, ids: Ids, batch_size: int) -> Iterator[ImageStep]:
        """Draw one picture of each prompt."""
        pictures = list(enumerate(job.seeds))
        for first in range(0, len(pictures), batch_size):
            batch = pictures[first : first + batch_size]
            settings = [self._settings(job, picture) for picture in batch]
            drawn = first + len(batch)
            for step, _ in self._drawn(job, ids, batch):
                done = ImageStep(
                    step, self.config.grid(job.size)[1], settings, self.decode, first, drawn
                )
                if step.position == step.total:
                    self._free()
                yield done

    def _best(self, job: Job, ids: Ids, batch_size: int) -> Iterator[ImageStep]:
        """Draw candidates of each prompt, those of as many prompts as fit at once; keep the best.

        A batch's last step is not shown: the last of its prompts has the pictures that are kept.
        """
        best, columns = job.best_of, self.config.grid(job.size)[1]
        at_once = max(1, batch_size // best.candidates)
        drawn = 0
        for start in range(0, len(job.prompts), at_once):
            some = range(len(job.prompts))[start : start + at_once]
            pictures = [
                (i, (job.seeds[i] + j) % SEEDS) for i in some for j in range(best.candidates)
            ]
            first = start * best.candidates if best.keep_all else start
            found: list[Candidate] = []
            for begin in range(0, len(pictures), batch_size):
                batch = pictures[begin : begin + batch_size]
                drawn += len(batch)
                for step, batch in self._drawn(job, ids, batch):  # noqa: B020 (it shrinks)
                    if step.position < step.total:
                        settings = [self._settings(job, picture) for picture in batch]
                        yield ImageStep(step, columns, settings, self.decode, first, drawn)
                found += self._judged(job, ids, batch, step.codes)
            kept = [one for i in some for one in ranked(found, i, best)]
            self._free()
            yield self._finished(
                job,
                np.stack([one.codes for one in kept]),
                [one.picture for one in kept],
                drawn,
                first,
                [best_record(found, one, best) for one in kept],
            )

    def _finished(
        self,
        job: Job,
        codes: np.ndarray,
        pictures: Sequence[Picture],
        drawn: int,
        first: int = 0,
        records: Sequence[Mapping[str, Any]] = (),
    ) -> ImageStep:
        """The last step of pictures of which all codes int [pictures, positions] are there."""
        tokens = list(mx.array(codes.T.astype(np.uint32)))
        settings = [
            self._settings(job, picture, record)
            for picture, record in zip_longest(pictures, records)
        ]
        step = CodesStep(len(tokens), len(tokens), tokens)
        return ImageStep(step, self.config.grid(job.size)[1], settings, self.decode, first, drawn)

    def _drawn(
        self, job: Job, ids: Ids, batch: list[Picture]
    ) -> Iterator[tuple[CodesStep, list[Picture]]]:
        """The steps of one batch, each with its pictures: pruning leaves some of them."""
        prompts = [job.prompts[i] for i, _ in batch]
        different = list(dict.fromkeys(prompts))  # each is read once
        draw = Draw(
            [seed for _, seed in batch],
            job.params,
            [different.index(prompt) for prompt in prompts],
            job.given,
            [job.renewing[i] for i, _ in batch] if job.renewing else (),
            job.strength,
        )
        rows, columns = self.config.grid(job.size)
        read = [ids[prompt] for prompt in different]
        if self.drawn_by is not None and job.window == 1:
            steps = self.drawn_by(read, draw, job.size, rows * columns)
        else:
            steps = self.engine.draw(read, draw, job.size, rows * columns, job.window)
        half = rows // 2 * columns if job.best_of.prune else 0
        kept: list[int] | None = None
        with limits(), suppress(StopIteration):
            while True:
                step = steps.send(kept)
                kept = None
                yield step, batch
                if half and half <= step.position < step.total:
                    kept, half = self._promising(job, ids, batch, step.codes), 0
                    batch = [batch[i] for i in kept]

    def _promising(
        self, job: Job, ids: Ids, batch: Sequence[Picture], codes: np.ndarray
    ) -> list[int]:
        """Which pictures of a batch go on when half of the codes are drawn."""
        gains = np.zeros(len(batch))
        prompts = [job.prompts[i] for i, _ in batch]
        for prompt in dict.fromkeys(prompts):
            mine = [n for n, other in enumerate(prompts) if other == prompt]
            gains[mine] = prompt_gain(self.engine, ids[prompt], job.size, codes[mine])
        kept = mx.array(better_half(gains, [i for i, _ in batch]))
        found: list[int] = agreed(kept, self._shard).tolist()  # type: ignore[assignment]
        return found

    def _judged(
        self, job: Job, ids: Ids, batch: Sequence[Picture], codes: np.ndarray
    ) -> list[Candidate]:
        """The pictures of a batch with what the judge says of each."""
        found: list[Candidate] = []
        grids = codes.reshape(len(codes), *self.config.grid(job.size))
        with limits():
            for i in dict.fromkeys(i for i, _ in batch):
                mine = [n for n, (other, _) in enumerate(batch) if other == i]
                prompt = job.prompts[i]
                judge, read = job.best_of.judge, ids[prompt]
                said = scores(self.engine, judge, prompt, read, grids[mine], job.given)
                found += [
                    Candidate(batch[n], codes[n], one) for n, one in zip(mine, said, strict=True)
                ]
        return found

    def _image_step(self, step: CodesStep, prompt: str, draw: Draw, size: Size) -> ImageStep:
        """A step of drawing a picture that answers a prompt, with its settings."""
        job = Job([prompt], draw.seeds, draw.params, size)
        settings = [self._settings(job, (0, draw.seeds[0]))]
        return ImageStep(step, self.config.grid(size)[1], settings, self.decode)

    def _settings(
        self, job: Job, picture: Picture, more: Mapping[str, Any] | None = None
    ) -> ImageSettings:
        i, seed = picture
        steered = {**job.steered, **(more or {})}
        if job.renewing:
            steered["variation"] = {"seed": job.renewing[i], "strength": job.strength}
        return ImageSettings(
            prompt=job.prompts[i],
            seed=seed,
            width=job.size.width,
            height=job.size.height,
            model=self.name,
            dtype=str(self._dtype).removeprefix("mlx.core."),
            version=__version__,
            instruction=job.instruction,
            steered=steered,
            adapters=self.adapters,
            **asdict(job.params),
        )

    def _part(self) -> LiquidConfig:
        """The model as far as this process holds it."""
        return replace(self.config, backbone=self._shard.config)

    def _check_memory(self, batch_size: int, length: int, size: Size) -> None:
        """Refuse a drawing whose weights, keys and values, and decoder do not fit."""
        need = memory.drawing(
            self._part(),
            weight_bytes(self.engine.backbone, self._dtype),
            weight_bytes(self.vqgan, mx.float32),
            batch_size,
            length,
            size,
            self._dtype,
        )
        memory.require_drawing(need, low_ram=self._low_ram)
