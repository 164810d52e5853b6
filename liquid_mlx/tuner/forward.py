"""The forward pass for gradients: whole sequences, no cache, nothing changed on the way."""

from __future__ import annotations

import mlx.core as mx

from liquid_mlx.kernels import Rotary, differentiable
from liquid_mlx.nn.backbone import Backbone, Block
from liquid_mlx.nn.cache import KVCache


class WholeSequence(KVCache):
    """Stands where a cache would: hands keys and values of whole sequences straight back."""

    def __init__(self, rows: int):
        super().__init__([])
        self._rows = rows

    @property
    def rows(self) -> int:
        return self._rows

    def update(self, layer: int, *entries: mx.array) -> tuple[mx.array, mx.array]:
        keys, values = entries
        return keys, values


def hidden_states(backbone: Backbone, tokens: mx.array, checkpoint: bool = False) -> mx.array:
    """Hidden states after the final norm, [B T, hidden] of token ids [B, T].

    Rows that are padded behind their end need no mask: nothing looks ahead, so that padding
    is seen by padding alone.

    Args:
        checkpoint: keep only what stands between layers for the backward pass, which computes
            the rest again.
    """
    with differentiable():
        cache = WholeSequence(len(tokens))
        x = backbone.embed(tokens)
        masks, rotary = backbone.attending(tokens.shape, cache)
        branch = mx.zeros_like(x)
        for layer, mask in zip(backbone.model.layers, masks, strict=True):
            run = _checkpointed if checkpoint else Block.__call__
            x, branch = run(layer, x, branch, cache, mask, rotary)
        return backbone.model.norm(x, branch)[1]


def _checkpointed(
    layer: Block,
    x: mx.array,
    branch: mx.array,
    cache: KVCache,
    mask: mx.array | None,
    rotary: Rotary,
) -> tuple[mx.array, mx.array]:
    """`Block.__call__` whose inner values are not kept; gradients flow to what is trainable."""

    def inner(
        parameters: dict[str, mx.array], x: mx.array, branch: mx.array
    ) -> tuple[mx.array, mx.array]:
        with differentiable():  # it runs once more in the backward pass
            layer.update(parameters)
            return layer(x, branch, cache, mask, rotary)

    result: tuple[mx.array, mx.array] = mx.checkpoint(inner)(
        layer.trainable_parameters(), x, branch
    )
    return result
