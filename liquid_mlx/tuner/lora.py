"""What is trained: LoRA and DoRA beside frozen layers, or the layers themselves.

The names of parameters, their shapes and how they start are mlx-lm's, so that either opens the
other's adapters. Unlike mlx-lm's, these layers stand beside this project's matrices, which are
dense or quantized, and take random numbers from keys.

LoRA: Hu et al., arXiv 2106.09685. DoRA: Liu et al., arXiv 2402.09353.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from liquid_mlx.device import on_gpu
from liquid_mlx.errors import UsageError
from liquid_mlx.generation.sampling import fold_in
from liquid_mlx.nn.backbone import Backbone
from liquid_mlx.nn.linear import Embedding, Linear
from liquid_mlx.params import integer, number
from liquid_mlx.weights import flat

MOST_LAYERS = 16  # as mlx-lm, if nobody says how many
Kind = Literal["lora", "dora", "full"]


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """What is trained.

    Attributes:
        kind: "lora", "dora", or "full" for the layers' own weights.
        rank: of the low-rank products.
        scale: what they are multiplied with.
        dropout: share of a product's inputs that is set to 0 in training.
        layers: how many of the last layers; -1 is all, None the last 16 at most.
        embeddings: also the embedding, and with it a tied head, or an untied one.

    Raises:
        SettingsError: a value is out of range.
        UsageError: settings cannot be combined.
    """

    kind: Kind = "lora"
    rank: int = 8
    scale: float = 20.0
    dropout: float = 0.0
    layers: int | None = None
    embeddings: bool = False

    def __post_init__(self) -> None:
        integer("rank", self.rank, 1, 1024, "use 1 to 1024, such as 8")
        number("scale", self.scale, 1e-6, 1e4, "use a number above 0, such as 20")
        number("dropout", self.dropout, 0, 0.95, "use 0 to 0.95")
        if self.layers not in (None, -1):
            integer("layers", self.layers, 1, 1000, "use 1 or more, or -1 for all")
        if self.kind == "dora" and self.embeddings:
            raise UsageError("DoRA and embeddings cannot be combined: use LoRA.")
        if self.kind == "full" and self.dropout:
            raise UsageError("full and dropout cannot be combined.")

    def layers_of(self, count: int) -> int:
        """How many of a model's ``count`` layers; raises UsageError if it has fewer."""
        if self.layers is None:
            return min(count, MOST_LAYERS)
        if self.layers > count:
            raise UsageError(f"The model has {count} layers, not {self.layers}: use -1 for all.")
        return count if self.layers == -1 else self.layers


class LoRALinear(nn.Module):
    """A frozen layer plus ``scale * x @ lora_a @ lora_b``: [inputs, r] and [r, outputs]."""

    def __init__(self, linear: Linear, settings: AdapterSettings, key: mx.array):
        super().__init__()
        outputs, inputs = linear.shape
        self.linear = linear
        self.lora_a, self.lora_b = _start(inputs, outputs, settings.rank, key)
        self.scale, self.dropout = float(settings.scale), settings.dropout
        self._key: mx.array | None = None

    def low(self, x: mx.array) -> mx.array:
        """The product's first half, [..., r]."""
        seen = x if self._key is None else _drop(x, self.dropout, self._key)
        return seen @ self.lora_a

    def added(self, x: mx.array, low: mx.array) -> mx.array:
        """The frozen layer's output for ``x``, and the rest of the product."""
        return mx.addmm(self.linear(x), low, self.lora_b, alpha=self.scale).astype(x.dtype)

    def __call__(self, x: mx.array) -> mx.array:
        return self.added(x, self.low(x))

    @staticmethod
    def together(x: mx.array, layers: Sequence[LoRALinear]) -> list[mx.array]:
        """What layers that read the same ``x`` make of it, the first halves as one product: of
        few columns each, they take long for what they compute."""
        if any(layer._key is not None for layer in layers):  # each drops other inputs
            return [layer(x) for layer in layers]
        low = x @ mx.concatenate([layer.lora_a for layer in layers], axis=1)
        ends = list(accumulate(layer.lora_a.shape[1] for layer in layers))[:-1]
        parts = mx.split(low, ends, axis=-1)
        return [layer.added(x, part) for layer, part in zip(layers, parts, strict=True)]

    def rows(self, start: int, stop: int) -> LoRALinear:
        """The layer of outputs ``start`` to ``stop`` alone, sharing memory with this one."""
        part = LoRALinear.__new__(LoRALinear)
        nn.Module.__init__(part)
        part.linear = self.linear.rows(start, stop)
        part.lora_a, part.lora_b = self.lora_a, self.lora_b[:, start:stop]
        part.scale, part.dropout, part._key = self.scale, self.dropout, self._key
        return part

    def widen(self) -> None:
        """Make the frozen weights float32; the others are."""
        self.linear.widen()


class DoRALinear(LoRALinear):
    """LoRA whose rows of weights are brought to trained lengths ``m`` [outputs]."""

    def __init__(self, linear: Linear, settings: AdapterSettings, key: mx.array):
        super().__init__(linear, settings, key)
        self.m = mx.linalg.norm(linear.dense().astype(mx.float32), axis=1)

    def added(self, x: mx.array, low: mx.array) -> mx.array:
        y = super().added(x, low)
        bias = self.linear.get("bias")
        if bias is not None:
            y = y - bias
        weight = self.linear.dense() + (self.scale * self.lora_b.T) @ self.lora_a.T
        length = mx.stop_gradient(mx.linalg.norm(weight, axis=1))
        out = ((self.m / length) * y).astype(x.dtype)
        return out if bias is None else out + bias


class LoRAEmbedding(nn.Module):
    """A frozen table plus ``scale * lora_a @ lora_b``: [vocabulary, r] and [r, width]."""

    def __init__(self, embedding: Embedding, settings: AdapterSettings, key: mx.array):
        super().__init__()
        rows, width = embedding.shape
        self.embedding = embedding
        self.lora_a, self.lora_b = _start(rows, width, settings.rank, key)
        self.scale, self.dropout = float(settings.scale), settings.dropout
        self._key: mx.array | None = None

    def lookup(self, ids: mx.array) -> mx.array:
        """Rows of ids [...] -> [..., width]."""
        rows = self.embedding.lookup(ids)
        added = self.lora_a[ids] @ self.lora_b
        if self._key is not None:
            added = _drop(added, self.dropout, self._key)
        return rows + (self.scale * added).astype(rows.dtype)

    def rows(self, start: int, stop: int) -> LoRALinear:
        """Ids ``start`` to ``stop`` of the tied head."""
        part = LoRALinear.__new__(LoRALinear)
        nn.Module.__init__(part)
        part.linear = self.embedding.rows(start, stop)
        part.lora_a, part.lora_b = self.lora_b.T, self.lora_a[start:stop].T
        part.scale, part.dropout, part._key = self.scale, 0.0, None
        return part


def _start(inputs: int, outputs: int, rank: int, key: mx.array) -> tuple[mx.array, mx.array]:
    """Random a [inputs, r], and b [r, outputs] of zeros: training starts from the base."""
    most = inputs**-0.5
    return mx.random.uniform(-most, most, (inputs, rank), key=key), mx.zeros((rank, outputs))


def _drop(x: mx.array, share: float, key: mx.array) -> mx.array:
    kept = mx.random.bernoulli(1 - share, x.shape, key=key)
    return mx.where(kept, x / (1 - share), 0).astype(x.dtype)


def chosen(backbone: Backbone, settings: AdapterSettings) -> dict[str, nn.Module]:
    """The modules that are trained, or that get an adapter beside them, by name and in its order.

    Raises:
        UsageError: the model has fewer layers, or is quantized and to be trained in full.
    """
    count = backbone.config.num_hidden_layers
    first = count - settings.layers_of(count)
    found: dict[str, nn.Module] = {}
    for path, module in backbone.named_modules():
        if settings.kind == "full":
            wanted = bool(module.parameters()) and not module.children()
            if wanted and isinstance(module, Linear) and module.quantization:
                raise UsageError("A quantized model is not trained in full: use LoRA.")
        else:
            wanted = isinstance(module, Linear)
        parts = path.split(".")
        inside = parts[:2] == ["model", "layers"]
        if wanted and (int(parts[2]) >= first if inside else settings.embeddings):
            found[path] = module
    return dict(sorted(found.items()))


def prepare(backbone: Backbone, settings: AdapterSettings, key: mx.array) -> None:
    """Freeze a backbone that is not fused, and make trainable what the settings say.

    Raises:
        UsageError: see `chosen`.
    """
    backbone.freeze()
    for module in backbone.modules():
        if isinstance(module, Linear):
            module.unpacks = not on_gpu()
    for i, (path, module) in enumerate(chosen(backbone, settings).items()):
        if settings.kind == "full":
            module.unfreeze()
            continue
        if isinstance(module, Embedding):
            layer: nn.Module = LoRAEmbedding(module, settings, fold_in(key, i))
        else:
            assert isinstance(module, Linear)
            kind = DoRALinear if settings.kind == "dora" else LoRALinear
            layer = kind(module, settings, fold_in(key, i))
        layer.freeze()
        layer.unfreeze(keys=["lora_a", "lora_b", "m"], recurse=False)
        _replace(backbone, path, layer)
    mx.eval(backbone.trainable_parameters())


def trainable_size(backbone: Backbone, settings: AdapterSettings) -> int:
    """How many numbers `prepare` would make trainable."""
    total = 0
    for module in chosen(backbone, settings).values():
        if settings.kind == "full":
            total += sum(array.size for array in flat(module).values())
        else:
            assert isinstance(module, Linear)
            total += settings.rank * sum(module.shape)
            total += module.shape[0] if settings.kind == "dora" else 0
    return total


def _replace(root: nn.Module, path: str, module: nn.Module) -> None:
    *parents, last = path.split(".")
    place: Any = root
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    place[last] = module


def adapted(backbone: Backbone) -> Iterator[LoRALinear | LoRAEmbedding]:
    """The layers that `prepare` made."""
    for _, module in backbone.named_modules():
        if isinstance(module, LoRALinear | LoRAEmbedding):
            yield module


def set_dropout(backbone: Backbone, key: mx.array | None) -> None:
    """Give every adapted layer a key of its own for the next pass; None turns dropout off."""
    for i, module in enumerate(adapted(backbone)):
        module._key = fold_in(key, i) if key is not None and module.dropout else None


def trained(backbone: Backbone) -> dict[str, mx.array]:
    """The trainable parameters by name: what an adapter's file holds."""
    found: Any = tree_flatten(backbone.trainable_parameters(), destination={})
    return dict(found)


def adapter_config(settings: AdapterSettings, backbone: Backbone) -> Mapping[str, Any]:
    """What mlx-lm needs in ``adapter_config.json`` to make the same layers."""
    layers = settings.layers_of(backbone.config.num_hidden_layers)
    if settings.kind == "full":
        return {"fine_tune_type": "full", "num_layers": layers, "lora_parameters": None}
    paths = {name.rpartition(".")[0] for name in trained(backbone)}
    keys = {path.split(".", 3)[3] if path.startswith("model.layers.") else path for path in paths}
    return {
        "fine_tune_type": settings.kind,
        "num_layers": layers,
        "lora_parameters": {
            "rank": settings.rank,
            "scale": settings.scale,
            "dropout": settings.dropout,
            "keys": sorted(keys),
        },
    }
