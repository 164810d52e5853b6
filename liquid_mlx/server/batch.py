"""Continuous batching: pictures and answers join a running batch and leave it when done.

One step is one forward pass for all of them, each at its own position. Every sequence has its own
rows, seed and settings, so it becomes what it would be alone (float32, CPU; elsewhere kernels of
other shapes may round a near-tie the other way).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import mlx.core as mx
import numpy as np

from liquid_mlx import kernels, memory
from liquid_mlx.config import LiquidConfig, Size
from liquid_mlx.distributed.exchange import agreed, least
from liquid_mlx.distributed.ranks import Team
from liquid_mlx.errors import PromptError
from liquid_mlx.generation.answer import check_length
from liquid_mlx.generation.engine import Engine
from liquid_mlx.generation.image import Draw, Steps
from liquid_mlx.generation.prefill import Prefix, prefill
from liquid_mlx.generation.sampling import distribution, sample
from liquid_mlx.kernels.sampler import apply_guidance
from liquid_mlx.memory import kv_bytes, limits
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.nn.row_cache import RowCache
from liquid_mlx.params import ImageParams
from liquid_mlx.results import CodesStep
from liquid_mlx.server.sequences import (
    ImageSequence,
    TextSequence,
    TokenLogs,
    TokenSequence,
    length_of,
)

TINY = 1e-30  # stands for a probability of 0 in an entropy


class Batch:
    """The sequences that are being drawn and written with one model."""

    def __init__(self, engine: Engine, config: LiquidConfig, weights: int):
        self._engine = engine
        self._config = config
        self._whole_head = engine.backbone.head()
        self._shard = engine.backbone.shard
        self._free = least(max(0, memory.available() - weights) // 2, self._shard)
        self._rows: list[TokenSequence] = []  # those whose rows are in the cache, in its order
        self._joining: list[tuple[TokenSequence, list[Prefix]]] = []
        self._leaving: set[int] = set()  # ids of those that leave before they are done
        self._cache: RowCache | None = None
        self._hidden: mx.array | None = None  # [rows, hidden] of the last tokens
        self._last_prompt: tuple[object, list[Prefix]] | None = None

    @property
    def sequences(self) -> list[TokenSequence]:
        """All that have joined and not left yet."""
        every = [*self._rows, *(sequence for sequence, _ in self._joining)]
        return [one for one in every if not one.done and id(one) not in self._leaving]

    def fits(self, sequence: TokenSequence) -> bool:
        """Whether there is memory for one more; an empty batch takes any that the machine can."""
        now = self.sequences
        if not now:
            return True
        rows = sum(one.rows for one in now) + sequence.rows
        return self._bytes(rows, length_of([*now, sequence])) <= self._free

    def _bytes(self, rows: int, length: int) -> int:
        return kv_bytes(self._config.backbone, rows, length, self._engine.backbone.dtype)

    def add(self, sequence: TokenSequence) -> None:
        """Prefill a sequence's prompt; its first token comes with the next step.

        Raises:
            PromptError: it does not fit the model's context.
            LowMemoryError: it does not fit this machine.
        """
        if not sequence.ids:
            raise PromptError("The prompt is empty: say something.")
        check_length(self._engine, sequence.length)
        need = self._bytes(sequence.rows, sequence.length)
        with Team(self._shard.group).together():  # it fits every machine, or none takes it
            memory.require({"keys and values": need}, "send a shorter prompt")
        with limits():
            if isinstance(sequence, ImageSequence) and not sequence.answering:
                prefixes = self._image_prefixes(sequence)
            else:
                cache = self._engine.prompt_cache
                read = cache.read([], sequence.ids, 0)
                prefixes = [Prefix(_copy(read.cache), read.hidden)]
                cache.keep(sequence.ids, read.cache)  # for the next turn, or the next question
                if isinstance(sequence, ImageSequence) and sequence.rows > 1:
                    prefixes.append(self._engine.unconditional(sequence.size))
        self._joining.append((sequence, prefixes))

    def _image_prefixes(self, sequence: ImageSequence) -> list[Prefix]:
        """Several pictures of a prompt read it once."""
        before = [code + self._config.image_offset for code in sequence.before]
        key = sequence.ids, before, sequence.rows, sequence.size
        if self._last_prompt is None or self._last_prompt[0] != key:
            prefixes = [prefill(self._engine.backbone, sequence.ids + before)]
            if sequence.rows > 1:
                prefixes.append(self._engine.unconditional(sequence.size, before))
            self._last_prompt = key, prefixes
        return self._last_prompt[1]

    def draw(self, prompts: Sequence[list[int]], draw: Draw, size: Size, total: int) -> Steps:
        """What ``Engine.draw`` does, among all others: ask for a step, and let the batch make one.

        Whoever asks more seldom than the batch goes on sees the end of every row all the same. A
        step may be there again, with no more codes, while there is no room for the pictures.
        """
        columns = self._config.grid(size)[1]
        given = () if draw.given is None else draw.given.tolist()
        pictures = [
            ImageSequence(
                prompts[draw.prompts[i] if draw.prompts else 0],
                draw.params,
                seed,
                size,
                total,
                given=given,
                renewing=draw.renewing[i : i + 1],
                strength=draw.strength,
            )
            for i, seed in enumerate(draw.seeds)
        ]
        tokens, position, joined = draw.tokens(total), len(pictures[0].before), 0
        try:
            while True:
                while joined < len(pictures) and self.fits(pictures[joined]):
                    self.add(pictures[joined])
                    joined += 1
                for place in range(position, now := min(len(one.tokens) for one in pictures)):
                    tokens[place] = mx.array([one.tokens[place] for one in pictures], mx.uint32)
                    position = place + 1
                    if position % columns == 0 and position < now:
                        yield CodesStep(position, total, tokens)
                if all(one.done for one in pictures):
                    break
                yield CodesStep(position, total, tokens)
            yield CodesStep(total, total, tokens)
        finally:
            for one in pictures[:joined]:
                self.remove(one)

    def remove(self, sequence: TokenSequence) -> None:
        """Take a sequence out, done or not."""
        if not sequence.done:
            self._leaving.add(id(sequence))

    def clear(self) -> None:
        """Give all up, after an error in the middle of a step."""
        self._rows, self._joining, self._leaving = [], [], set()
        self._cache = self._hidden = self._last_prompt = None

    def step(self) -> int:
        """Draw the next token of every sequence; how many those are."""
        with limits():
            self.settle()
            if not self._rows:
                return 0
            assert self._cache is not None
            groups = _groups(self._rows)
            parts = [self._draw(group) for group in groups]
            ids = agreed(mx.concatenate([part.ids for part in parts]), self._shard)  # by group
            wanted = [array for part in parts for array in part.extras]
            order = [one for group in groups for one in group.members]
            hidden = None
            if not all(one.last for one in order):
                place = {id(one): i for i, one in enumerate(order)}
                spread = [place[id(one)] for one in self._rows for _ in range(one.rows)]
                self._cache.make_room()
                hidden = self._engine.backbone(ids[mx.array(spread)][:, None], self._cache)[:, -1]
                wanted.append(hidden)
            mx.async_eval(ids, *wanted)  # the next pass runs while ids are looked at
            self._hidden = hidden
            drawn: list[int] = ids.tolist()  # type: ignore[assignment]
        at = 0
        for group, part in zip(groups, parts, strict=True):
            part.hand_out(group.members, drawn[at : at + len(group.members)])
            at += len(group.members)
        return len(order)

    def settle(self) -> None:
        """Let go of rows that are done, and take up those that join."""
        stay: list[TokenSequence] = []
        kept: list[int] = []
        row = 0
        for one in self._rows:
            if not one.done and id(one) not in self._leaving:
                stay.append(one)
                kept += range(row, row + one.rows)
            row += one.rows
        joining = [pair for pair in self._joining if id(pair[0]) not in self._leaving]
        self._leaving.clear()
        self._joining.clear()
        if len(kept) == row and not joining:
            return
        self._rows = [*stay, *(sequence for sequence, _ in joining)]
        prefixes = [prefix for _, pair in joining for prefix in pair]
        if not self._rows:
            self._cache = self._hidden = None
            return
        cache = self._cache if kept else None
        self._cache = RowCache.of(cache, kept, [prefix.cache for prefix in prefixes])
        hidden = [prefix.hidden[:, -1] for prefix in prefixes]
        if kept:
            assert self._hidden is not None
            hidden.insert(0, self._hidden[mx.array(kept)])
        self._hidden = mx.concatenate(hidden)

    def _draw(self, group: _Group) -> _Drawn:
        assert self._hidden is not None
        hidden = self._hidden[mx.array(group.rows)]  # [group's rows, hidden]
        first = group.members[0]
        if isinstance(first, ImageSequence):
            return self._draw_codes(hidden, group.members, first.params)
        return self._draw_text(hidden, group.members, first)

    def _draw_codes(
        self, hidden: mx.array, members: Sequence[TokenSequence], params: ImageParams
    ) -> _Drawn:
        """Conditional rows come first in ``hidden``, then the unconditional ones."""
        images = [one for one in members if isinstance(one, ImageSequence)]
        logits = self._engine.image_head(hidden)
        conditional, unconditional = logits[: len(images)], None
        if len(logits) > len(images):
            unconditional = logits[len(images) :]
        codes = kernels.sample_codes(
            conditional,
            unconditional,
            mx.concatenate([one.noise(logits.shape[-1]) for one in images]),
            guidance=params.guidance,
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
        )
        given = [one.next_given for one in images]
        if max(given) >= 0:
            kept = mx.array(given)
            codes = mx.where(kept < 0, codes, kept.astype(mx.uint32))
        drawn = _Drawn(codes + self._config.image_offset, offset=self._config.image_offset)
        if any(one.wants_entropy for one in images):
            shares = distribution(
                apply_guidance(conditional, unconditional, params.guidance),
                temperature=params.temperature,
                top_k=params.top_k,
                top_p=params.top_p,
            )
            drawn.entropies = -(shares * mx.log(mx.maximum(shares, TINY))).sum(axis=-1)
        return drawn

    def _draw_text(
        self, hidden: mx.array, members: Sequence[TokenSequence], first: TextSequence
    ) -> _Drawn:
        texts = [one for one in members if isinstance(one, TextSequence)]
        params = first.params
        logits = (self._engine.text_head if first.top is None else self._whole_head)(hidden)
        greedy = params.temperature == 0
        ids = sample(
            logits[:, : self._config.image_offset],
            mx.zeros((len(texts), 2), mx.uint32) if greedy else mx.stack([t.key for t in texts]),
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
        )
        drawn = _Drawn(ids)
        if first.top is not None:
            drawn.logs, drawn.top_ids, drawn.top_logs = log_probabilities(logits, ids, first.top)
        return drawn


def _copy(cache: KVCache) -> KVCache:
    """A cache that stays as it is while the other one is written to."""
    return KVCache([layer[:, :, : cache.offset] for layer in cache.layers], cache.offset)


def log_probabilities(
    logits: mx.array, ids: mx.array, top: int
) -> tuple[mx.array, mx.array, mx.array]:
    """Of ids [B] under logits [B, n]: float32 [B]; and the ``top`` likeliest ids and theirs."""
    logs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    best = mx.argsort(-logs, axis=-1)[:, :top]
    own = mx.take_along_axis(logs, ids[:, None], axis=-1)[:, 0]
    return own, best, mx.take_along_axis(logs, best, axis=-1)


def token_logs(own: mx.array, best: mx.array | None, logs: mx.array | None) -> list[TokenLogs]:
    """What ``log_probabilities`` has found, row by row."""
    rows = zip(np.array(own).tolist(), np.array(best), np.array(logs), strict=True)
    return [
        TokenLogs(one, list(zip(i.tolist(), found.tolist(), strict=True))) for one, i, found in rows
    ]


@dataclass
class _Group:
    """Sequences that are sampled alike, and their rows: conditional ones first."""

    members: list[TokenSequence]
    rows: list[int]


@dataclass
class _Drawn:
    """Ids [members] of a group, and what else was asked for."""

    ids: mx.array
    offset: int = 0
    entropies: mx.array | None = None
    logs: mx.array | None = None
    top_ids: mx.array | None = None
    top_logs: mx.array | None = None

    @property
    def extras(self) -> list[mx.array]:
        every = (self.entropies, self.logs, self.top_ids, self.top_logs)
        return [array for array in every if array is not None]

    def hand_out(self, members: Sequence[TokenSequence], ids: Sequence[int]) -> None:
        entropies = None if self.entropies is None else np.array(self.entropies).tolist()
        logs = None if self.logs is None else token_logs(self.logs, self.top_ids, self.top_logs)
        for i, (one, token) in enumerate(zip(members, ids, strict=True)):
            if isinstance(one, ImageSequence) and entropies is not None:
                one.entropies.append(entropies[i])
            elif isinstance(one, TextSequence) and logs is not None:
                one.logs.append(logs[i])
            one.tokens.append(token - self.offset)


def _groups(sequences: Sequence[TokenSequence]) -> list[_Group]:
    """Sequences with the same settings, with the rows of each."""
    first, row = {}, 0
    for one in sequences:
        first[id(one)] = row
        row += one.rows
    groups = []
    for _, found in groupby(sorted(sequences, key=_alike), key=_alike):
        members = list(found)
        rows = [first[id(one)] for one in members]
        if members[0].rows > 1:
            rows += [first[id(one)] + 1 for one in members]
        groups.append(_Group(members, rows))
    return groups


def _alike(sequence: TokenSequence) -> str:
    """What sequences that are sampled together have in common."""
    p = sequence.params
    settings = f"{p.temperature!r} {p.top_k} {p.top_p!r}"
    if isinstance(sequence, ImageSequence):
        return f"image {settings} {sequence.params.guidance!r}"
    return f"text {settings} {sequence.top}"
