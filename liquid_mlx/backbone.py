"""The decoder-only transformer: gemma, gemma2, llama and qwen2, and its heads.

The module tree is the Hugging Face checkpoint's name tree, so that loading is strict. ``fuse``
then joins projections that read the same input, which halves the launches of a decoding step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache as remember
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from liquid_mlx.cache import KVCache
from liquid_mlx.config import BackboneConfig
from liquid_mlx.linear import Embedding, Linear


@remember
def _on_gpu(function: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """Compile an element-wise island on the GPU; MLX's CPU compiler would start a C++ compiler."""
    compiled = mx.compile(function, shapeless=True)
    return lambda *xs: (compiled if mx.default_device() == mx.gpu else function)(*xs)


def gelu_tanh(x: mx.array) -> mx.array:
    """The tanh approximation of GELU, written as ``x * sigmoid(2 u)``; computed in float32."""
    y = x.astype(mx.float32)
    u = y * (1.5957691216057308 + 0.07135481627159996 * (y * y))
    return (y * mx.sigmoid(u)).astype(x.dtype)


def silu(x: mx.array) -> mx.array:
    """``x * sigmoid(x)``."""
    return x * mx.sigmoid(x)


def _gated_gelu(gate: mx.array, up: mx.array) -> mx.array:
    return gelu_tanh(gate) * up


def _gated_silu(gate: mx.array, up: mx.array) -> mx.array:
    return silu(gate) * up


def _softcap(x: mx.array, cap: mx.array) -> mx.array:
    return mx.tanh(x / cap) * cap


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
        return mx.fast.rms_norm(x, weight, self._eps).astype(x.dtype)


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
        self, x: mx.array, cache: KVCache, mask: mx.array | str | None, turn: Turn
    ) -> mx.array:
        rows, length, _ = x.shape
        if "qkv_proj" in self:
            joined = self.qkv_proj(x).reshape(rows, length, -1, self._width).swapaxes(1, 2)
            turned = turn(joined[:, : -self._kv_heads])
            queries, keys = turned[:, : self._heads], turned[:, self._heads :]
            values = joined[:, -self._kv_heads :]
        else:
            queries, keys, values = (
                project(x).reshape(rows, length, -1, self._width).swapaxes(1, 2)
                for project in (self.q_proj, self.k_proj, self.v_proj)
            )
            queries, keys = turn(queries), turn(keys)
        keys, values = cache.update(self._layer, keys, values)
        if self._softcap is None:
            mixed = mx.fast.scaled_dot_product_attention(
                queries, keys, values, scale=self._scale, mask=mask
            )
        else:
            mixed = self._capped(queries, keys, values, mask, self._softcap)
        return self.o_proj(mixed.swapaxes(1, 2).reshape(rows, length, -1))

    def _capped(
        self,
        queries: mx.array,
        keys: mx.array,
        values: mx.array,
        mask: mx.array | str | None,
        cap: float,
    ) -> mx.array:
        """Attention whose scores are bounded by ``cap * tanh(score / cap)`` (Gemma 2)."""
        rows, heads, length, width = queries.shape
        grouped = queries.reshape(rows, self._kv_heads, -1, length, width)
        scores = (grouped * self._scale) @ keys[:, :, None].swapaxes(-1, -2)
        scores = _on_gpu(_softcap)(scores, mx.array(cap, scores.dtype))
        if isinstance(mask, str):
            stop = keys.shape[2]
            mask = mx.arange(stop - length, stop)[:, None] >= mx.arange(stop)[None]
        if mask is not None:
            mask = mask[:, :, None] if mask.ndim == 4 else mask
            scores = mx.where(mask, scores, mx.finfo(scores.dtype).min)
        weights = mx.softmax(scores, axis=-1, precise=True)
        return (weights @ values[:, :, None]).reshape(rows, heads, length, width)


Turn = Callable[[mx.array], mx.array]  # rotates queries or keys [B, H, T, D] by their positions


class Rope:
    """Rotary positions, half-split (Su et al., arXiv 2104.09864), for all layers of a step."""

    def __init__(self, config: BackboneConfig):
        self._waves = rope_waves(config)
        mx.eval(self._waves)

    def at(self, start: int | mx.array, length: int) -> Turn:
        """For ``length`` tokens from position ``start``: one for all rows, or one per row [B]."""
        if mx.default_device() == mx.gpu:
            return partial(
                mx.fast.rope,
                dims=2 * self._waves.size,
                traditional=False,
                base=None,
                scale=1.0,
                freqs=self._waves,
                offset=start,
            )
        # The CPU has no such kernel, and would compute sines and cosines anew in every layer.
        first = start[:, None, None, None] if isinstance(start, mx.array) else start
        angles = (first + mx.arange(length)[:, None]) / self._waves
        cos, sin = mx.cos(angles), mx.sin(angles)
        same, other = mx.concatenate([cos, cos], -1), mx.concatenate([-sin, sin], -1)

        def turn(x: mx.array) -> mx.array:
            low, high = mx.split(x, 2, axis=-1)
            return (x * same + mx.concatenate([high, low], -1) * other).astype(x.dtype)

        return turn


def rope_waves(config: BackboneConfig) -> mx.array:
    """Tokens per radian of each rotating pair: float32 [head_dim / 2]."""
    scaling = config.rope_scaling or {}
    exponents = mx.arange(0, config.head_dim, 2, dtype=mx.float32) / config.head_dim
    waves = config.rope_theta**exponents
    if scaling.get("rope_type") == "linear":
        return waves * scaling["factor"]
    if scaling.get("rope_type") == "llama3":
        return _stretch_long(waves, scaling)
    return waves


def _stretch_long(waves: mx.array, scaling: Mapping[str, Any]) -> mx.array:
    """Llama 3.1's scaling: long waves are stretched, short ones kept."""
    factor, low, high = (
        scaling[name] for name in ("factor", "low_freq_factor", "high_freq_factor")
    )
    turns = scaling["original_max_position_embeddings"] / (2 * math.pi * waves)
    smooth = mx.clip((turns - low) / (high - low), 0, 1)
    return waves / ((1 - smooth) / factor + smooth)


class MLP(nn.Module):
    """The gated feed-forward layer: tanh-GELU for the Gemmas, SiLU for the others."""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = Linear(hidden, inner)
        self.up_proj = Linear(hidden, inner)
        self.down_proj = Linear(inner, hidden)
        self._gated = _on_gpu(_gated_gelu if config.is_gemma else _gated_silu)

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
        self, x: mx.array, cache: KVCache, mask: mx.array | str | None, turn: Turn
    ) -> mx.array:
        mixed = self.self_attn(self.input_layernorm(x), cache, mask, turn)
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
        x = self.model.embed_tokens.lookup(tokens).astype(self.dtype)
        if self.config.is_gemma:
            x = x * mx.array(self.config.hidden_size**0.5, x.dtype)
        length = tokens.shape[1]
        masks = {window: cache.mask(length, window) for window in set(self._windows)}
        turn = self._rope.at(cache.positions(), length)
        for layer, window in zip(self.model.layers, self._windows, strict=True):
            x = layer(x, cache, masks[window], turn)
        cache.offset += length
        return self.model.norm(x)

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
            return out if cap is None else _on_gpu(_softcap)(out, mx.array(cap))

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
                    module.lay_out()
            mx.eval(block.parameters())  # layer by layer: both forms are never whole in memory
        mx.eval(self.parameters())


def _join(parent: nn.Module, name: str, parts: Sequence[str]) -> None:
    """Replace linear layers by one that computes all; layers of unlike quantization stay."""
    whole = Linear.joined([parent[part] for part in parts])
    if whole is not None:
        for part in parts:
            del parent[part]
        parent[name] = whole
