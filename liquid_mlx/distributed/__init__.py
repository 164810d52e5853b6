"""Several processes, on one machine or many, over ``mx.distributed``; ``mlx.launch`` starts them.

``ranks`` is the processes and what they tell each other, ``shards`` which part of a language model
each of them holds, ``slices`` how it reads no more than that, ``exchange`` what they exchange while
it runs, and ``links`` how fast they are joined.
"""
