"""Which part of a language model each process holds: rows and columns of all layers, or layers.

Tensor parallel (Shoeybi et al., "Megatron-LM", 2019): every rank has some of the heads and some of
the inner units of every layer. q, k, v, gate and up are split by output, o and down by input, so
that a layer's two results are sums over the ranks. Pipeline parallel: every rank has some of the
layers, and hands on what comes out of them. In both, the text's rows of embedding and head are
dealt out as well; norms, and the rows of the codes, are whole on every rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from liquid_mlx.config import BackboneConfig
from liquid_mlx.errors import DistributedError

if TYPE_CHECKING:
    import mlx.core as mx


@dataclass(frozen=True)
class Slice:
    """Places ``start`` to ``stop`` of a matrix [outputs, inputs], along outputs (0) or inputs."""

    axis: int
    start: int
    stop: int


@dataclass(frozen=True)
class Table:
    """Rows of embedding and head on a rank: ``start`` to ``stop`` of the text's, all behind them.

    Every rank has ``each`` of the ``text`` rows of ``total``, the last ones fewer. A picture needs
    only the rows of its codes, so that drawing one exchanges nothing for its head.
    """

    total: int
    text: int
    each: int
    start: int
    stop: int

    @classmethod
    def part(cls, total: int, text: int, rank: int, size: int) -> Table:
        """What ``rank`` of ``size`` holds."""
        each = math.ceil(text / size)
        return cls(total, text, each, min(rank * each, text), min((rank + 1) * each, text))

    @property
    def own(self) -> int:
        """Text rows on this rank, which stand first."""
        return self.stop - self.start

    @property
    def rows(self) -> int:
        """All rows on this rank."""
        return self.own + self.total - self.text


@dataclass(frozen=True)
class Shard:
    """What one rank holds of a language model.

    Args:
        config: of its part: the heads, inner units and layers that it has itself.
        first_layer: the place in the whole model of its layer 0.
        slices: projection, such as ``self_attn.q_proj`` -> its part of it, in every layer.
        table: its rows of embedding and head; None is all of them.
        pipeline: whether the ranks have different layers.
    """

    config: BackboneConfig
    rank: int = 0
    size: int = 1
    group: mx.distributed.Group | None = None
    first_layer: int = 0
    slices: dict[str, Slice] = field(default_factory=dict)
    table: Table | None = None
    pipeline: bool = False

    def whole_name(self, name: str) -> str:
        """The name in the whole model of a module or parameter of this part."""
        head, dot, rest = name.removeprefix("model.layers.").partition(".")
        if not name.startswith("model.layers.") or not head.isdigit():
            return name
        return f"model.layers.{int(head) + self.first_layer}{dot}{rest}"

    def slice_of(self, module: str) -> Slice | None:
        """Which part of a linear layer this is; None is all of it."""
        return self.slices.get(".".join(module.split(".")[-2:]))


def tensor_shard(
    config: BackboneConfig,
    rank: int,
    size: int,
    *,
    group: mx.distributed.Group | None = None,
    text: int | None = None,
    mlp_groups: Sequence[int] = (),
    head_groups: Sequence[int] = (),
) -> Shard:
    """The part of every layer that ``rank`` of ``size`` holds.

    Key-value heads that are fewer than the ranks stand on several of them. Inner units are dealt
    out in whole quantization groups, so that a rank may have one group more than another.

    Args:
        text: how many ids are text, for the rows of embedding and head; None leaves them whole.
        mlp_groups: group sizes of the quantized down projections.
        head_groups: of the quantized output projections of attention.

    Raises:
        DistributedError: the heads, inner units or groups do not divide.
    """
    width, heads, kv_heads = config.head_dim, *_heads(config, size)
    first = rank * config.num_key_value_heads // size
    queries = Slice(0, rank * heads * width, (rank + 1) * heads * width)
    keys = Slice(0, first * width, (first + kv_heads) * width)
    for group_size in head_groups:
        if queries.start % group_size or queries.stop % group_size:
            raise DistributedError(
                f"{heads} heads of width {width} for each of {size} processes are not whole "
                f"quantization groups of {group_size}: use fewer processes or pipeline parallel, "
                "or convert the model with a smaller group size."
            )
    unit = math.lcm(*mlp_groups)
    units = config.intermediate_size // unit
    if units < size:
        raise DistributedError(
            f"{config.intermediate_size} inner units in groups of {unit} cannot be split over "
            f"{size} processes: use {units} at the most."
        )
    stop = config.intermediate_size if rank + 1 == size else unit * (units * (rank + 1) // size)
    inner = Slice(0, unit * (units * rank // size), stop)
    part = replace(
        config,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=inner.stop - inner.start,
    )
    slices = {
        "self_attn.q_proj": queries,
        "self_attn.k_proj": keys,
        "self_attn.v_proj": keys,
        "self_attn.o_proj": replace(queries, axis=1),
        "mlp.gate_proj": inner,
        "mlp.up_proj": inner,
        "mlp.down_proj": replace(inner, axis=1),
    }
    table = None if text is None else Table.part(config.vocab_size, text, rank, size)
    return Shard(part, rank, size, group, slices=slices, table=table)


def _heads(config: BackboneConfig, size: int) -> tuple[int, int]:
    """How many heads and key-value heads each of ``size`` ranks has."""
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads

    def fits(n: int) -> bool:
        return heads % n == 0 and (kv_heads % n == 0 or n % kv_heads == 0)

    if not fits(size):
        possible = [str(n) for n in range(1, heads + 1) if fits(n)]
        raise DistributedError(
            f"{heads} heads and {kv_heads} key-value heads cannot be split over {size} processes: "
            f"use {' or '.join(possible)}, or pipeline parallel."
        )
    return heads // size, max(1, kv_heads // size)


def pipeline_shard(
    config: BackboneConfig,
    rank: int,
    size: int,
    layers: Sequence[int],
    *,
    group: mx.distributed.Group | None = None,
    text: int | None = None,
) -> Shard:
    """The layers that ``rank`` of ``size`` holds: ``layers[rank]`` of them.

    Raises:
        DistributedError: there are not ``size`` shares of one layer or more that make up all.
    """
    total = config.num_hidden_layers
    shares = list(layers)
    if len(shares) != size or min(shares) < 1 or sum(shares) != total:
        raise DistributedError(
            f"The layers {','.join(map(str, shares))} are not {size} shares of {total} layers: "
            f"give {size} numbers of 1 or more that add up to {total}."
        )
    return Shard(
        config=replace(config, num_hidden_layers=shares[rank]),
        rank=rank,
        size=size,
        group=group,
        first_layer=sum(shares[:rank]),
        table=None if text is None else Table.part(config.vocab_size, text, rank, size),
        pipeline=True,
    )


def shares_by_memory(layers: int, memory: Sequence[int]) -> list[int]:
    """How many of the layers each rank gets, in proportion to its memory; one at the least.

    Raises:
        DistributedError: there are more ranks than layers.
    """
    if len(memory) > layers:
        raise DistributedError(f"{layers} layers cannot be split over {len(memory)} processes.")
    shares = [1] * len(memory)
    for _ in range(layers - len(memory)):  # the next one goes where it is tightest the least
        shares[max(range(len(memory)), key=lambda r: memory[r] / (shares[r] + 1))] += 1
    return shares
