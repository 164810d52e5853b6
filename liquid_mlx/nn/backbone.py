"""The decoder-only transformer: gemma, gemma2, llama and qwen2, and its heads.

The module tree is the Hugging Face checkpoint's name tree, so that loading is strict. ``fuse``
then joins projections that read the same input, which halves the launches of a decoding step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import mlx.core as mx
import mlx.nn as nn

from liquid_mlx.config import BackboneConfig
from liquid_mlx.device import on_gpu
from liquid_mlx.distributed.exchange import hand_on, lookup, receive, with_all_text
from liquid_mlx.distributed.shards import Shard
from liquid_mlx.kernels import Rotary, add_rms_norm
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.nn.linear import Embedding, Linear, products
from liquid_mlx.nn.ops import (
    attention,
    attention_mask,
    compiled,
    gelu_tanh,
    rope_freqs,
    silu,
    softcap,
)

# Projections that read the same input, by the name of the layer that computes them all.
JOINED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}


def _gated_gelu(gate: mx.array, up: mx.array) -> mx.array:
    return gelu_tanh(gate) * up


def _gated_silu(gate: mx.array, up: mx.array) -> mx.array:
    return silu(gate) * up


class RMSNorm(nn.Module):
    """Root-mean-square norm. Gemma's scale is ``1 + weight``, folded by ``fold`` after loading."""

    def __init__(self, width: int, eps: float, unit_offset: bool):
        super().__init__()
        self.weight = mx.zeros((width,)) if unit_offset else mx.ones((width,))
        self._eps = eps
        self._unit_offset = unit_offset

    def fold(self) -> None:
        """Fold ``1 +`` into a float32 weight: bfloat16 could not hold it exactly."""
        if self._unit_offset:
            self.weight = 1 + self.weight.astype(mx.float32)
            self._unit_offset = False

    def __call__(self, x: mx.array, branch: mx.array | None = None) -> tuple[mx.array, mx.array]:
        """x + branch and the norm of that, both like x [N, width]."""
        weight = 1 + self.weight.astype(mx.float32) if self._unit_offset else self.weight
        return add_rms_norm(x, branch, weight, self._eps)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: BackboneConfig, layer: int):
        super().__init__()
        heads, kv_heads, width = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        bias = config.attention_bias
        self.q_proj = Linear(config.hidden_size, heads * width, bias)
        self.k_proj = Linear(config.hidden_size, kv_heads * width, bias)
        self.v_proj = Linear(config.hidden_size, kv_heads * width, bias)
        output_bias = bias and config.model_type != "qwen2"
        self.o_proj = Linear(heads * width, config.hidden_size, output_bias)
        self._layer = layer
        self._heads, self._kv_heads = heads, kv_heads
        self._scale = (config.query_pre_attn_scalar or width) ** -0.5
        self._softcap = config.attn_logit_softcapping

    def __call__(
        self, x: mx.array, cache: KVCache, mask: mx.array | None, rotary: Rotary
    ) -> mx.array:
        """x [B T, hidden] of B rows with T tokens each, row by row."""
        if "qkv_proj" in self:
            queries, *entries = rotary(self.qkv_proj(x), self._heads, self._kv_heads)
        else:
            parts = products(x, (self.q_proj, self.k_proj, self.v_proj))
            queries, *entries = rotary.apart(*parts)
        keys, values = cache.update(self._layer, *entries)
        mixed = attention(queries, keys, values, scale=self._scale, mask=mask, cap=self._softcap)
        if len(x) > cache.rows:
            mixed = mixed.swapaxes(1, 2)
        return self.o_proj(mixed.reshape(len(x), -1))


class MLP(nn.Module):
    """The gated feed-forward layer: tanh-GELU for the Gemmas, SiLU for the others."""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = Linear(hidden, inner)
        self.up_proj = Linear(hidden, inner)
        self.down_proj = Linear(inner, hidden)
        self._gated = compiled(_gated_gelu if config.is_gemma else _gated_silu)

    def __call__(self, x: mx.array) -> mx.array:
        if "gate_up_proj" in self:
            gate, up = mx.split(self.gate_up_proj(x), 2, axis=-1)
        else:
            gate, up = products(x, (self.gate_proj, self.up_proj))
        return self.down_proj(self._gated(gate, up))


class Block(nn.Module):
    """One layer; Gemma 2 also normalizes what attention and MLP return."""

    def __init__(self, config: BackboneConfig, layer: int):
        super().__init__()

        def norm() -> RMSNorm:
            return RMSNorm(config.hidden_size, config.rms_norm_eps, config.is_gemma)

        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config)
        self.input_layernorm = norm()
        self.post_attention_layernorm = norm()
        if config.model_type == "gemma2":
            self.pre_feedforward_layernorm = norm()
            self.post_feedforward_layernorm = norm()
        self._sandwich = config.model_type == "gemma2"

    def __call__(
        self,
        x: mx.array,
        branch: mx.array | None,
        cache: KVCache,
        mask: mx.array | None,
        rotary: Rotary,
    ) -> tuple[mx.array, mx.array]:
        """From x and what is still to be added to it to the same behind this layer.

        The sum is left to the norm that follows, which does both in one kernel.
        """
        x, normed = self.input_layernorm(x, branch)
        mixed = self.self_attn(normed, cache, mask, rotary)
        if self._sandwich:
            _, mixed = self.post_attention_layernorm(mixed)
            x, normed = self.pre_feedforward_layernorm(x, mixed)
            return x, self.post_feedforward_layernorm(self.mlp(normed))[1]
        x, normed = self.post_attention_layernorm(x, mixed)
        return x, self.mlp(normed)


class Transformer(nn.Module):
    """Embedding, layers and final norm: the checkpoint's ``model``."""

    def __init__(self, config: BackboneConfig, rows: int):
        super().__init__()
        self.embed_tokens = Embedding(config.hidden_size, rows)
        self.layers = [Block(config, layer) for layer in range(config.num_hidden_layers)]
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, config.is_gemma)


class Backbone(nn.Module):
    """The language model. Call it for hidden states, then one of its heads for logits.

    With a shard it is one rank's part of it, ``config`` included. All ranks are called alike, and
    all of them return the hidden states of the whole.
    """

    def __init__(self, config: BackboneConfig, shard: Shard | None = None):
        super().__init__()
        self.shard = shard or Shard(config)
        self.config = config = self.shard.config
        self.bytes_read = 0  # of the files that a shard was loaded from
        self.dtype = mx.float32  # of activations and of the KV cache; set when weights are loaded
        table = self.shard.table
        rows = config.vocab_size if table is None else table.rows
        self.model = Transformer(config, rows)
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.hidden_size, rows)
        self._freqs = rope_freqs(config)
        mx.eval(self._freqs)
        first = self.shard.first_layer
        self._windows = [
            config.sliding_window if layer % 2 == 0 else None
            for layer in range(first, first + config.num_hidden_layers)
        ]
        if not self.shard.pipeline:
            for block in self.model.layers:
                block.self_attn.o_proj.group = self.shard.group
                block.mlp.down_proj.group = self.shard.group

    def __call__(self, tokens: mx.array, cache: KVCache) -> mx.array:
        """Hidden states after the final norm [B, T, hidden] of token ids [B, T].

        The tokens stand behind those already in the cache, which takes their keys and values.
        """
        x = receive(self.embed(tokens), self.shard)
        masks, rotary = self.attending(tokens.shape, cache)
        branch = None
        for layer, mask in zip(self.model.layers, masks, strict=True):
            x, branch = layer(x, branch, cache, mask, rotary)
            if not on_gpu():
                mx.async_eval(branch)  # computed while the next layer is built, as long a time
        cache.offset += tokens.shape[1]
        x, hidden = self.model.norm(x, branch)
        return hand_on(x, hidden, self.shard).reshape(*tokens.shape, -1)

    def twin(self) -> Backbone:
        """Modules of their own over the same arrays: for adapters beside those of this one."""
        values = [value for module in self.modules() for value in module.values()]
        shared = [value for value in values if isinstance(value, mx.array)]
        return deepcopy(self, {id(one): one for one in (*shared, self.dtype, self.shard)})

    def embed(self, tokens: mx.array) -> mx.array:
        """What the first layer reads, [B T, hidden], of token ids [B, T].

        Two axes only: the rows of a matrix product, which MLX would else fold and unfold.
        """
        x = lookup(self.model.embed_tokens.lookup, tokens.reshape(-1), self.shard)
        x = x.astype(self.dtype)
        return x * mx.array(self.config.hidden_size**0.5, x.dtype) if self.config.is_gemma else x

    def attending(
        self, shape: tuple[int, ...], cache: KVCache
    ) -> tuple[list[mx.array | None], Rotary]:
        """What attention needs of new tokens [B, T] behind a cache: a mask per layer, rotations."""
        rows, length = shape
        cap = self.config.attn_logit_softcapping
        scores = (rows, self.config.num_attention_heads, length, cache.offset + length)
        masks = {
            window: attention_mask(cache.visible(length, window), scores, self.dtype, cap)
            for window in set(self._windows)
        }
        rotary = Rotary(self._freqs, cache.positions(), rows, length, self.dtype)
        return [masks[window] for window in self._windows], rotary

    def head(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        exact: bool = False,
        constant: bool = True,
    ) -> Callable[[mx.array], mx.array]:
        """A head over ids ``start`` to ``stop``: hidden [..., hidden] -> float32 logits.

        A picture needs no text rows and an answer no image rows, so their heads read less. The
        rows are a view of the embedding (tied) or of ``lm_head``; ``exact`` makes the product in
        float32: guidance multiplies what bfloat16 would round off. A head that is not
        ``constant`` is part of a graph, for gradients of its own weights.
        """
        source = self.lm_head if "lm_head" in self else self.model.embed_tokens
        stop = self.config.vocab_size if stop is None else stop
        table = self.shard.table
        if table is None:
            rows = source.rows(start, stop)
        else:  # the text's are on several ranks, and stand before all others
            before = table.own if start >= table.text else 0
            rows = source.rows(
                before + max(0, start - table.text), table.own + max(0, stop - table.text)
            )
        if exact:
            rows.widen()
        if constant:
            mx.eval(rows.parameters())
        cap = self.config.final_logit_softcapping

        def logits(hidden: mx.array) -> mx.array:
            out = rows(hidden.astype(mx.float32) if exact else hidden).astype(mx.float32)
            if table is not None and start < table.text:
                out = with_all_text(out, self.shard)[..., start:stop]
            return out if cap is None else compiled(softcap)(out, mx.array(cap))

        return logits

    def fuse(self, unpack: bool = False) -> None:
        """Fold the norms, join the projections that read the same input, lay weights out.

        Args:
            unpack: make quantized matrices dense, in float32.
        """
        for module in self.modules():
            if isinstance(module, RMSNorm):
                module.fold()
            elif isinstance(module, Linear) and unpack:
                module.unpack()
        for block in self.model.layers:
            _join(block.self_attn, "qkv_proj", JOINED["qkv_proj"])
            _join(block.mlp, "gate_up_proj", JOINED["gate_up_proj"])
            for module in block.modules():
                if isinstance(module, Linear):
                    module.pretranspose()
            mx.eval(block.parameters())  # layer by layer: both forms are never whole in memory
        mx.eval(self.parameters())


def _join(parent: nn.Module, name: str, parts: Sequence[str]) -> None:
    """Replace linear layers by one that computes all; layers of unlike quantization stay."""
    whole = Linear.joined([parent[part] for part in parts])
    if whole is not None:
        for part in parts:
            del parent[part]
        parent[name] = whole
