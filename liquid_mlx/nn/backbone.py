"""The decoder-only transformer: gemma, gemma2, llama and qwen2, and its heads.

The module tree is the Hugging Face checkpoint's name tree, so that loading is strict. ``fuse``
then joins projections that read the same input, which halves the launches of a decoding step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import mlx.nn as nn

from liquid_mlx.config import BackboneConfig
from liquid_mlx.device import on_gpu
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.nn.linear import Embedding, Linear
from liquid_mlx.nn.ops import (
    Rope,
    Rotate,
    attention,
    attention_mask,
    compiled,
    gelu_tanh,
    rms_norm,
    silu,
    softcap,
)


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

    def __call__(self, x: mx.array) -> mx.array:
        weight = 1 + self.weight.astype(mx.float32) if self._unit_offset else self.weight
        return rms_norm(x, weight, self._eps)


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
        self._heads, self._kv_heads, self._width = heads, kv_heads, width
        self._scale = (config.query_pre_attn_scalar or width) ** -0.5
        self._softcap = config.attn_logit_softcapping

    def __call__(
        self, x: mx.array, cache: KVCache, mask: mx.array | str | None, rotate: Rotate
    ) -> mx.array:
        """x [B T, hidden] of B rows with T tokens each, row by row."""
        rows = cache.rows
        length = len(x) // rows

        def heads(joined: mx.array) -> mx.array:
            """[B T, H D] -> [B, H, T, D]."""
            if length == 1:
                return joined.reshape(rows, -1, 1, self._width)
            return joined.reshape(rows, length, -1, self._width).swapaxes(1, 2)

        if "qkv_proj" in self:
            joined = heads(self.qkv_proj(x))
            rotating, values = mx.split(joined, [self._heads + self._kv_heads], axis=1)
            queries, keys = mx.split(rotate(rotating), [self._heads], axis=1)
        else:
            queries, keys, values = (heads(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
            queries, keys = rotate(queries), rotate(keys)
        keys, values = cache.update(self._layer, keys, values)
        mixed = attention(queries, keys, values, scale=self._scale, mask=mask, cap=self._softcap)
        if length > 1:
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
            gate, up = self.gate_proj(x), self.up_proj(x)
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
        self, x: mx.array, cache: KVCache, mask: mx.array | str | None, rotate: Rotate
    ) -> mx.array:
        mixed = self.self_attn(self.input_layernorm(x), cache, mask, rotate)
        if self._sandwich:
            x = x + self.post_attention_layernorm(mixed)
            return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nn.Module):
    """Embedding, layers and final norm: the checkpoint's ``model``."""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        self.embed_tokens = Embedding(config.hidden_size, config.vocab_size)
        self.layers = [Block(config, layer) for layer in range(config.num_hidden_layers)]
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, config.is_gemma)


class Backbone(nn.Module):
    """The language model. Call it for hidden states, then one of its heads for logits."""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        self.config = config
        self.dtype = mx.float32  # of activations and of the KV cache; set when weights are loaded
        self.model = Transformer(config)
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self._rope = Rope(config)
        self._windows = [
            config.sliding_window if layer % 2 == 0 else None
            for layer in range(config.num_hidden_layers)
        ]

    def __call__(self, tokens: mx.array, cache: KVCache) -> mx.array:
        """Hidden states after the final norm [B, T, hidden] of token ids [B, T].

        The tokens stand behind those already in the cache, which takes their keys and values.
        """
        # Two axes only: the rows of a matrix product, which MLX would else fold and unfold.
        x = self.model.embed_tokens.lookup(tokens.reshape(-1)).astype(self.dtype)
        if self.config.is_gemma:
            x = x * mx.array(self.config.hidden_size**0.5, x.dtype)
        length = tokens.shape[1]
        cap = self.config.attn_logit_softcapping
        masks = {
            window: attention_mask(
                cache.mask(length, window), length, cache.offset + length, self.dtype, cap
            )
            for window in set(self._windows)
        }
        rotate = self._rope.at(cache.positions(), length)
        for layer, window in zip(self.model.layers, self._windows, strict=True):
            x = layer(x, cache, masks[window], rotate)
            if not on_gpu():
                mx.async_eval(x)  # computed while the next layer is built, which takes as long
        cache.offset += length
        return self.model.norm(x).reshape(*tokens.shape, -1)

    def head(self, start: int = 0, stop: int | None = None) -> Callable[[mx.array], mx.array]:
        """A head over ids ``start`` to ``stop``: hidden [..., hidden] -> float32 logits.

        A picture needs no text rows and an answer no image rows, so their heads read less. The
        rows are a view of the embedding (tied) or of ``lm_head``.
        """
        source = self.lm_head if "lm_head" in self else self.model.embed_tokens
        rows = source.rows(start, self.config.vocab_size if stop is None else stop)
        cap = self.config.final_logit_softcapping

        def logits(hidden: mx.array) -> mx.array:
            out = rows(hidden).astype(mx.float32)
            return out if cap is None else compiled(softcap)(out, mx.array(cap))

        return logits

    def fuse(self) -> None:
        """Fold the norms, join the projections that read the same input, lay weights out."""
        for module in self.modules():
            if isinstance(module, RMSNorm):
                module.fold()
        for block in self.model.layers:
            _join(block.self_attn, "qkv_proj", ("q_proj", "k_proj", "v_proj"))
            _join(block.mlp, "gate_up_proj", ("gate_proj", "up_proj"))
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
