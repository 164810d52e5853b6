"""What the ranks of one model exchange while it runs, lazily, beside the sums within its layers."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from liquid_mlx.distributed.shards import Shard


def agreed(values: mx.array, shard: Shard) -> mx.array:
    """Rank 0's integers on every rank.

    Chips of different kinds may round differently: what was drawn, encoded or timed could
    otherwise part the ranks, and every later sum would mix different texts.
    """
    if shard.group is None:
        return values
    # Zeros alone would leave out the exchanges that ``values`` are made of, and part the ranks.
    mine = values if shard.rank == 0 else mx.depends(mx.zeros_like(values), values)
    return mx.distributed.all_sum(mine, group=shard.group)


def least(value: int, shard: Shard) -> int:
    """The smallest of the ranks' numbers, such as how many images fit the memory of each."""
    if shard.group is None:
        return value
    return int(mx.distributed.all_min(mx.array(value, mx.int64), group=shard.group))


def receive(x: mx.array, shard: Shard) -> mx.array:
    """What enters this rank's layers [N, hidden]: ``x`` in the first, else what comes before."""
    if not shard.pipeline or shard.rank == 0:
        return x
    mx.eval(x)  # its rows are a sum over the ranks, which would wait behind what is received
    return mx.distributed.recv(x.shape, x.dtype, shard.rank - 1, group=shard.group)


def hand_on(x: mx.array, hidden: mx.array, shard: Shard) -> mx.array:
    """The last rank's ``hidden`` on every rank; the others hand their ``x`` to the next."""
    if not shard.pipeline or shard.group is None:
        return hidden
    if shard.rank + 1 < shard.size:
        sent = mx.distributed.send(x, shard.rank + 1, group=shard.group)
        hidden = mx.depends(mx.zeros_like(x), sent)
    return mx.distributed.all_sum(hidden, group=shard.group)


def lookup(find: Callable[[mx.array], mx.array], ids: mx.array, shard: Shard) -> mx.array:
    """Embeddings [N, hidden] of ids [N], of which ``find`` takes rows of this rank's table."""
    table = shard.table
    if table is None:
        return find(ids)
    ids = ids.astype(mx.int32)
    mine, behind = (ids >= table.start) & (ids < table.stop), ids >= table.text
    places = mx.where(behind, ids - table.text + table.own, mx.where(mine, ids - table.start, 0))
    found = find(places)
    if shard.rank == 0:
        mine = mine | behind
    found = mx.where(mine[:, None], found, mx.zeros_like(found))
    return mx.distributed.all_sum(found, group=shard.group)


def with_all_text(logits: mx.array, shard: Shard) -> mx.array:
    """Logits [..., all text and what is behind] of this rank's [..., own text and behind]."""
    table = shard.table
    assert table is not None
    own, behind = logits[..., : table.own], logits[..., table.own :]
    gap = [(0, 0)] * (logits.ndim - 1) + [(0, table.each - table.own)]
    every = mx.distributed.all_gather(mx.pad(own, gap)[None], group=shard.group)
    joined = mx.moveaxis(every, 0, -2).reshape(*logits.shape[:-1], -1)
    return mx.concatenate([joined[..., : table.text], behind], axis=-1)
