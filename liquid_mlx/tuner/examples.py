"""From records to token ids and targets, by the reference's recipe; and the order they come in.

The recipe is that of ``liquid/train/train.py`` in FoundationVision/Liquid (4609c47): a picture is
drawn behind its caption and one of ten instructions, a tenth of the time unconditionally, or
described behind "The caption of this image is:"; only what the model is to write counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from liquid_mlx.config import LiquidConfig
from liquid_mlx.errors import PromptError
from liquid_mlx.params import number
from liquid_mlx.prompts import INSTRUCTIONS, Prompts
from liquid_mlx.tuner.loss import Example
from liquid_mlx.tuner.records import Record, Source

CAPTION, UNCONDITIONAL = -1, -2  # uses of a picture beside the instructions, 0 to 9
POOL = 16  # batches whose examples are sorted by length together


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What becomes of a picture with a caption.

    Attributes:
        t2i_ratio: how often it is drawn; else it is described.
        unconditional: how often a drawing has no caption, which guidance needs.
        instructions: the first so many of the ten; generation uses the first.
    """

    t2i_ratio: float = 0.8
    unconditional: float = 0.1
    instructions: int = 10

    def __post_init__(self) -> None:
        number("t2i_ratio", self.t2i_ratio, 0, 1, "use 0 to 1")
        number("unconditional", self.unconditional, 0, 1, "use 0 to 1")
        number("instructions", self.instructions, 1, len(INSTRUCTIONS), "use 1 to 10")


class Examples:
    """Makes examples of records.

    Args:
        longest: the most tokens of one.
    """

    def __init__(self, prompts: Prompts, config: LiquidConfig, recipe: Recipe, longest: int):
        self._prompts, self._config, self._recipe = prompts, config, recipe
        self.longest = min(longest, config.backbone.max_position_embeddings)

    def make(self, record: Record, rng: np.random.Generator) -> Example:
        """An example of a record; how a picture is used is up to the generator.

        Raises:
            PromptError: it is too long, or something in it is empty.
        """
        recipe = self._recipe
        draws, without = rng.random(2)
        use = int(rng.integers(recipe.instructions))
        if draws >= recipe.t2i_ratio:
            use = CAPTION
        elif without < recipe.unconditional:
            use = UNCONDITIONAL
        return self._make(record, use)

    def _make(self, record: Record, use: int) -> Example:
        if record.picture is not None:
            given, said = self._picture(record, use)
            ids, learned = [*given, *said], [False] * len(given) + [True] * len(said)
        elif record.messages:
            shown = {i: p.codes for i, p in record.shown.items() if p.codes is not None}
            ids, learned = self._prompts.lesson(record.messages, shown)
        else:
            ids = self._prompts.text(record.text or "")
            learned = [i > 0 for i in range(len(ids))]
        if len(ids) > self.longest:
            raise PromptError(f"it has {len(ids)} tokens, and {self.longest} are the most")
        return Example(np.array(ids, np.int32), np.array(learned))

    def _picture(self, record: Record, use: int) -> tuple[list[int], list[int]]:
        """What is given and what is to be written, for one of a picture's uses."""
        prompts, text = self._prompts, record.text or ""
        codes = None if record.picture is None else record.picture.codes
        assert codes is not None
        size = record.size or self._config.sizes[0]
        if use == CAPTION:
            seen, asked = prompts.caption(codes)
            return [*seen, *asked], [*prompts.reply(text), *prompts.eos]
        if use == UNCONDITIONAL:
            given = prompts.unconditional(size)
        else:
            given = prompts.draw(text, size, use + 1)
        return given, [*prompts.drawn(codes), *prompts.eos]

    def longest_of(self, record: Record) -> int:
        """Tokens of a record that has its codes, in the longest of its uses.

        Raises:
            PromptError: see `make`.
        """
        uses = [CAPTION, *range(self._recipe.instructions)] if record.picture is not None else [0]
        return max(len(self._make(record, use)) for use in uses)


class Order:
    """Which examples stand in which batch: a function of the seed alone.

    Args:
        sources: their records, by shares.
        batch_size: examples of a step, over all machines and accumulation.
    """

    def __init__(self, examples: Examples, sources: Sequence[Source], batch_size: int, seed: int):
        self._examples, self._seed, self._batch_size = examples, seed, batch_size
        self._sources = [source for source in sources if source.records]
        self._starts = np.cumsum([0, *(len(source.records) for source in self._sources)])
        self._records = [record for source in self._sources for record in source.records]

    @property
    def epoch_length(self) -> int:
        """Examples of an epoch."""
        return sum(self._count(source) for source in self._sources)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; the last may be filled up from its beginning."""
        return -(-self.epoch_length // self._batch_size)

    @staticmethod
    def _count(source: Source) -> int:
        return max(1, round(source.share * len(source.records)))

    def _indices(self, epoch: int) -> np.ndarray:
        """The records of an epoch, shuffled: int [steps * batch size]."""
        rng = np.random.default_rng([self._seed, epoch])
        chosen = []
        for start, source in zip(self._starts, self._sources, strict=False):
            count, every = self._count(source), len(source.records)
            whole = [rng.permutation(every) for _ in range(-(-count // every))]
            chosen.append(start + np.concatenate(whole)[:count])
        indices = rng.permutation(np.concatenate(chosen))
        return np.resize(indices, self.steps_per_epoch * self._batch_size)

    def batches(self, step: int = 0) -> Iterator[list[Example]]:
        """Batches from this step on, without end.

        Of ``POOL`` batches each, examples are sorted by length, so that little is padded.
        """
        while True:
            epoch, start = divmod(step, self.steps_per_epoch)
            pool = start // POOL * POOL
            stop = min(pool + POOL, self.steps_per_epoch)
            size = self._batch_size
            indices = self._indices(epoch)[pool * size : stop * size]
            made = [
                self._examples.make(
                    self._records[index],
                    np.random.default_rng([self._seed, epoch, pool * size + place, 1]),
                )
                for place, index in enumerate(indices)
            ]
            order = np.argsort([len(example) for example in made], kind="stable")
            batches = [order[i : i + size] for i in range(0, len(order), size)]
            shuffled = np.random.default_rng([self._seed, epoch, pool, 2]).permutation(len(batches))
            for place in shuffled[start - pool :]:
                yield [made[i] for i in batches[place]]
                step += 1


def hold_out(source: Source, share: float, seed: int) -> None:
    """Move a share of the records, at least one of ten, to those kept for validation."""
    count = round(share * len(source.records))
    if source.held_out or share <= 0 or len(source.records) < 2:
        return
    count = min(max(count, 1), len(source.records) - 1)
    chosen = set(
        np.random.default_rng([seed, len(source.records)])
        .permutation(len(source.records))[:count]
        .tolist()
    )
    source.held_out = [record for i, record in enumerate(source.records) if i in chosen]
    source.records = [record for i, record in enumerate(source.records) if i not in chosen]
