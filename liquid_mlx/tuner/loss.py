"""The loss: cross-entropy over the targets alone, each by the head that would sample it.

A code is drawn among the codes and a word among the words, at generation as here. So the logits of
the other half are never made: for a code 8,192 of the 264,192 of the released model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from liquid_mlx.config import LiquidConfig
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.tuner.forward import hidden_states

Head = Callable[[mx.array], mx.array]
Batch = dict[str, mx.array]
PAD_TOKENS, PAD_TARGETS = 32, 64  # lengths are rounded up: few shapes to compile, memory reused
MOST_LOGITS = 1 << 25  # that exist at once: 128 MB in float32


@dataclass(frozen=True)
class Example:
    """Token ids int32 [T] of one sequence, and which of them are targets, bool [T]."""

    ids: np.ndarray
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def collate(examples: Sequence[Example], config: LiquidConfig) -> Batch:
    """Sequences as the arrays of a batch, padded behind their ends.

    Returns:
        ``tokens`` int32 [B, T], and for codes and for text: ``_at`` int32 [N], the places in
        [B T] whose next token is a target; ``_ids`` int32 [N], its row of the head; and
        ``_weight`` float32 [N], 0 where only the length is rounded up. ``counts`` float32 [2]:
        how many targets are codes and how many are text.
    """
    longest = max(len(example) for example in examples) - 1
    length = -(-longest // PAD_TOKENS) * PAD_TOKENS
    tokens = np.zeros((len(examples), length), np.int32)
    at, ids = [], []
    for row, example in enumerate(examples):
        tokens[row, : len(example) - 1] = example.ids[:-1]
        places = np.flatnonzero(example.target[1:])
        at.append(places + row * length)
        ids.append(example.ids[1:][places])
    every, wanted = np.concatenate(at), np.concatenate(ids)
    is_code = wanted >= config.image_offset
    return {
        "tokens": mx.array(tokens),
        # Counted here: MLX's sum over an empty array on a CPU may run on forever.
        "counts": mx.array([int(is_code.sum()), int((~is_code).sum())], mx.float32),
        **_targets("code", every[is_code], wanted[is_code] - config.image_offset),
        **_targets("text", every[~is_code], wanted[~is_code]),
    }


def _targets(kind: str, at: np.ndarray, ids: np.ndarray) -> Batch:
    room = (0, -len(at) % PAD_TARGETS)
    return {
        f"{kind}_at": mx.array(np.pad(at, room).astype(np.int32)),
        f"{kind}_ids": mx.array(np.pad(ids, room).astype(np.int32)),
        f"{kind}_weight": mx.array(np.pad(np.ones(len(at), np.float32), room)),
    }


class Loss:
    """Sums of cross-entropies over a batch's targets.

    Args:
        trains_head: the head's own weights are trained, so that it is part of the graph.
        checkpoint: see `hidden_states`.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: LiquidConfig,
        *,
        trains_head: bool = False,
        checkpoint: bool = False,
    ):
        self._backbone, self._config = backbone, config
        self._checkpoint, self._trains_head = checkpoint, trains_head
        self._constant = None if trains_head else self._heads(constant=True)

    def _heads(self, constant: bool) -> tuple[Head, Head]:
        """The heads of generation: over the codes in float32, and over the words."""
        start = self._config.image_offset
        stop = start + self._config.vqgan.n_embed
        head = self._backbone.head
        return (
            head(start, stop, exact=True, constant=constant),
            head(0, start, constant=constant),
        )

    def __call__(self, batch: Batch) -> mx.array:
        """Over codes and over text: float32 [2], in nats."""
        hidden = hidden_states(self._backbone, batch["tokens"], self._checkpoint)
        codes, text = self._constant or self._heads(constant=False)
        rows = (self._config.vqgan.n_embed, self._config.image_offset)
        return mx.stack(
            [
                self._summed(hidden, batch, "code", codes, rows[0]),
                self._summed(hidden, batch, "text", text, rows[1]),
            ]
        )

    def _summed(self, hidden: mx.array, batch: Batch, kind: str, head: Head, rows: int) -> mx.array:
        at, ids, weight = (batch[f"{kind}_{name}"] for name in ("at", "ids", "weight"))
        step = max(PAD_TARGETS, MOST_LOGITS // rows // PAD_TARGETS * PAD_TARGETS)

        def piece(hidden: mx.array, ids: mx.array, weight: mx.array) -> mx.array:
            logits = head(hidden)
            wanted = mx.take_along_axis(logits, ids[:, None], axis=-1)[:, 0]
            return ((mx.logsumexp(logits, axis=-1) - wanted) * weight).sum()

        # A checkpoint hands gradients to its arguments alone: not to a head that is trained.
        several = len(at) > step and not self._trains_head
        once_more = mx.checkpoint(piece) if several else piece
        total = mx.array(0.0)
        for start in range(0, len(at), step):
            part = slice(start, start + step)
            total = total + once_more(hidden[at[part]], ids[part], weight[part])
        return total
