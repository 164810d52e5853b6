"""Every part of a model is held by a rank, and what cannot be split is told."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liquid_mlx.config import BackboneConfig
from liquid_mlx.distributed.shards import Table, pipeline_shard, shares_by_memory, tensor_shard
from liquid_mlx.errors import DistributedError

CONFIG = BackboneConfig("llama", 64, 48, 160, 5, 8, 4, 16)


@pytest.mark.parametrize("groups", [(), (16,), (32,), (16, 64)])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_parts_of_all_ranks_are_the_whole(size: int, groups: tuple[int, ...]) -> None:
    if size == 4 and 64 in groups:
        return  # 160 inner units are two groups of 64 and a half
    shards = [tensor_shard(CONFIG, r, size, mlp_groups=groups) for r in range(size)]
    for name, length in (("self_attn.q_proj", 128), ("self_attn.k_proj", 64), ("mlp.up_proj", 160)):
        parts = [shard.slices[name] for shard in shards]
        assert [place for p in parts for place in range(p.start, p.stop)] == list(range(length))
    for shard in shards:
        inner, heads = shard.slices["mlp.down_proj"], shard.slices["self_attn.o_proj"]
        assert inner.axis == heads.axis == 1
        assert all(inner.start % group == 0 for group in groups)
        assert inner.stop - inner.start == shard.config.intermediate_size
        assert heads.stop - heads.start == shard.config.num_attention_heads * 16


@pytest.mark.parametrize(("total", "text", "size"), [(1064, 512, 2), (10, 7, 3), (9, 2, 4)])
def test_text_rows_are_dealt_out_and_all_others_are_everywhere(
    total: int, text: int, size: int
) -> None:
    tables = [Table.part(total, text, rank, size) for rank in range(size)]
    assert [row for t in tables for row in range(t.start, t.stop)] == list(range(text))
    assert all(t.rows == t.stop - t.start + total - text for t in tables)
    assert all(t.own <= t.each for t in tables)


def test_few_key_value_heads_stand_on_several_ranks() -> None:
    config = replace(CONFIG, num_key_value_heads=2)
    parts = [tensor_shard(config, r, 4).slices["self_attn.v_proj"] for r in range(4)]
    assert [(p.start, p.stop) for p in parts] == [(0, 16), (0, 16), (16, 32), (16, 32)]


def test_what_does_not_divide_is_told() -> None:
    with pytest.raises(DistributedError, match="over 3 processes: use 1 or 2 or 4 or 8"):
        tensor_shard(CONFIG, 0, 3)
    with pytest.raises(DistributedError, match=r"width 16 for each of 4 .*groups of 64"):
        tensor_shard(CONFIG, 1, 4, head_groups=(32, 64))
    with pytest.raises(DistributedError, match="use 2 at the most"):
        tensor_shard(CONFIG, 0, 4, mlp_groups=(64,))
    for shares in ((5,), (2, 2), (5, 0), (-1, 6)):
        with pytest.raises(DistributedError, match="add up to 5"):
            pipeline_shard(CONFIG, 0, 2, shares)


def test_layers_keep_their_names_and_order() -> None:
    shard = pipeline_shard(CONFIG, 1, 3, (1, 3, 1))
    assert (shard.first_layer, shard.config.num_hidden_layers) == (1, 3)
    assert shard.whole_name("model.layers.0.mlp.up_proj.weight") == (
        "model.layers.1.mlp.up_proj.weight"
    )
    assert shard.whole_name("model.layers.2") == "model.layers.3"
    assert shard.whole_name("model.norm.weight") == "model.norm.weight"


@settings(deadline=None)  # it may run on a busy machine
@given(
    st.integers(1, 60).flatmap(
        lambda layers: st.tuples(
            st.just(layers), st.lists(st.integers(1, 10**12), min_size=1, max_size=layers)
        )
    )
)
def test_shares_are_all_layers_and_more_memory_has_no_fewer(case: tuple[int, list[int]]) -> None:
    layers, memory = case
    shares = shares_by_memory(layers, memory)
    assert sum(shares) == layers
    assert min(shares) >= 1
    ranked = sorted(zip(memory, shares, strict=True))
    for (less, few), (more, many) in pairwise(ranked):
        assert less == more or few <= many


def test_shares_follow_memory() -> None:
    assert shares_by_memory(28, [16, 16]) == [14, 14]
    assert shares_by_memory(28, [48, 16]) == [21, 7]
    with pytest.raises(DistributedError, match="2 layers cannot be split over 3"):
        shares_by_memory(2, [1, 1, 1])
