"""What ``liquid bench`` measures on this machine."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import mlx.core as mx
import numpy as np

from liquid_mlx import Liquid, __version__
from liquid_mlx.device import on_gpu
from liquid_mlx.generation.image import Draw, draw_codes, sample_codes
from liquid_mlx.generation.prefill import Prefix, prefill
from liquid_mlx.generation.sampling import noise
from liquid_mlx.generation.text import generate_ids
from liquid_mlx.memory import available, kv_bytes, weight_bytes
from liquid_mlx.nn.cache import KVCache
from liquid_mlx.params import TextParams

ROWS = (1, 2, 4, 8)
COPIED = 1 << 30  # bytes, read and written: far more than any cache holds
STEPS = 24  # timed in the middle of an image
PROMPT = 256
ANSWER = 32
BRIEF = 60.0  # seconds: a picture that takes less is drawn, one that takes longer is estimated


def measure(liquid: Liquid, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Everything that ``report`` shows; seconds, bytes and rates as plain numbers."""
    config, engine = liquid.config, liquid.engine
    rows, columns = config.grid(config.sizes[0])
    total = rows * columns
    backbone, dtype = engine.backbone, engine.backbone.dtype
    mx.reset_peak_memory()
    say("memory bandwidth")
    bandwidth = copy_bandwidth()
    say("decoding steps")
    steps = {count: step_seconds(liquid, count, total) for count in ROWS}
    say("sampler")
    sampler = sampler_seconds(liquid)
    say("prompt and answer")
    prompt = min(PROMPT, config.backbone.max_position_embeddings // 2)
    prefilled, answered = text_seconds(liquid, prompt)
    say("image tokenizer")
    codes = np.zeros((rows, columns), np.int32)
    decoder = _median(lambda: liquid.decode(codes), 1)
    side = config.vqgan.resolution
    pixels = mx.zeros((1, side, side, config.vqgan.in_channels))
    encoder = _median(lambda: mx.eval(liquid.vqgan.encode(pixels)), 1)
    picture = total * steps[2] + decoder
    drawn = picture < BRIEF
    if drawn:
        say("a whole image")
        picture = _median(lambda: liquid.generate_image("a red circle", seed=0), 1)
    table = weight_bytes(backbone.model.embed_tokens, dtype)
    untied = weight_bytes(backbone.lm_head, dtype) if "lm_head" in backbone else 0
    head = (untied or table) * config.vqgan.n_embed // config.backbone.vocab_size
    weights = weight_bytes(backbone, dtype) - table - untied + head
    cache = kv_bytes(config.backbone, 2, total // 2, dtype)
    return {
        "model": liquid.name,
        "machine": str(mx.device_info()["device_name"]),
        "device": mx.default_device().type.name,
        "dtype": str(dtype).removeprefix("mlx.core."),
        "memory_bytes": available(),
        "copy_bytes_per_second": bandwidth,
        "step_weight_bytes": weights,
        "step_cache_bytes": cache,
        "step_seconds": steps,
        "percent_of_bound": 100 * (weights + cache) / bandwidth / steps[2],
        "sampler_seconds": sampler,
        "prefill_tokens_per_second": prompt / prefilled,
        "answer_tokens_per_second": 1 / answered,
        "picture_codes": total,
        "picture_codes_per_second": 1 / steps[2],
        "picture_seconds": picture,
        "picture_was_drawn": drawn,
        "decoder_seconds": decoder,
        "encoder_seconds": encoder,
        "peak_bytes": mx.get_peak_memory(),
    }


def report(r: dict[str, Any]) -> dict[str, str]:
    """The measurement in words, by name."""
    one = r["step_seconds"][1]
    picture = f"{r['picture_seconds']:.2f} s" + ("" if r["picture_was_drawn"] else " (estimated)")
    return {
        "model": f"{r['model']}, {r['dtype']}",
        "machine": f"{r['machine']} ({r['device']}), {r['memory_bytes'] / 1e9:.1f} GB",
        "memory bandwidth": f"{r['copy_bytes_per_second'] / 1e9:.1f} GB/s, measured by a copy",
        "read per step": f"{(r['step_weight_bytes'] + r['step_cache_bytes']) / 1e9:.4g} GB "
        f"(weights {r['step_weight_bytes'] / 1e9:.4g}, keys and values in mid-image "
        f"{r['step_cache_bytes'] / 1e9:.3g}), with guidance",
        "of the bound": f"{r['percent_of_bound']:.0f} % of what memory bandwidth allows",
        "step": "(batch size 2 is an image with guidance) "
        + ", ".join(
            f"batch {rows}: {seconds * 1e3:.2f} ms ({seconds / one:.2f})"
            for rows, seconds in r["step_seconds"].items()
        ),
        "sampler": f"{r['sampler_seconds'] * 1e3:.2f} ms alone, a part of every step",
        "image": f"{r['picture_codes_per_second']:.1f} tokens/s, {picture} in all",
        "prompt": f"{r['prefill_tokens_per_second']:.0f} tokens/s read",
        "answer": f"{r['answer_tokens_per_second']:.1f} tokens/s written",
        "pixels": f"decode {r['decoder_seconds']:.2f} s, encode {r['encoder_seconds']:.2f} s",
        "peak memory": f"{r['peak_bytes'] / 1e9:.2f} GB",
    }


def _median(run: Callable[[], object], repeats: int) -> float:
    """Seconds of a run, after one that does not count."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def copy_bandwidth() -> float:
    """Bytes per second read and written by a copy; on the CPU a copy per core."""
    if on_gpu():
        source = mx.zeros(COPIED // 4)
        return 2 * COPIED / _median(lambda: mx.eval(source + 1), 5)
    parts = [np.zeros(COPIED // 4, np.float32) for _ in range(2)]
    cores = os.cpu_count() or 1
    pieces = list(zip(*(np.array_split(part, cores) for part in parts), strict=True))
    with ThreadPoolExecutor(cores) as pool:

        def copy() -> None:
            list(pool.map(lambda piece: np.copyto(*piece), pieces))

        return 2 * COPIED / _median(copy, 5)


def step_seconds(liquid: Liquid, rows: int, total: int) -> float:
    """A step in the middle of an image as the loop runs it: backbone, image head and sampler, the
    next step submitted before a code is read. ``rows`` is 1, without guidance, or 2 per image."""
    config, engine = liquid.config, liquid.engine
    backbone = engine.backbone
    settings = replace(config.recommended, guidance=1.0 if rows == 1 else 7.0)
    draw = Draw(list(range(max(rows // 2, 1))), settings)
    hidden = mx.zeros((1, 1, config.backbone.hidden_size), backbone.dtype)

    def run() -> float:
        prefixes = []
        for _ in range(min(rows, 2)):
            cache = KVCache.empty(config.backbone, 1, total // 2, backbone.dtype)
            cache.offset = total // 2
            prefixes.append(Prefix(cache, hidden))
        offset, head = config.image_offset, engine.image_head
        steps = draw_codes(backbone, head, offset, prefixes, draw, STEPS + 1)
        next(steps)  # in the first caches are joined and noise is made
        start = time.perf_counter()
        for _ in steps:
            pass
        return (time.perf_counter() - start) / STEPS

    run()
    return statistics.median(run() for _ in range(3))


def sampler_seconds(liquid: Liquid) -> float:
    """Guidance, filters, noise and the draw of one code."""
    draw = Draw([0], replace(liquid.config.recommended, guidance=7.0))
    codes = liquid.config.vqgan.n_embed
    logits = mx.random.normal((2, codes), key=mx.random.key(0))
    keys = mx.random.key(0)[None]
    mx.eval(logits, keys)
    return _median(lambda: mx.eval(sample_codes(logits, noise(keys, (1, codes)), draw)), 10)


def text_seconds(liquid: Liquid, prompt: int) -> tuple[float, float]:
    """Reading a prompt, and each of ``ANSWER`` tokens that are written behind it."""
    engine = liquid.engine
    ids: Sequence[int] = [1] * prompt

    def read() -> None:
        prefill(engine.backbone, ids)

    def write() -> float:
        tokens = generate_ids(
            engine.backbone,
            engine.text_head,
            prefill(engine.backbone, ids),
            params=TextParams(max_new_tokens=ANSWER),
            stop=(),
        )
        next(tokens)
        start = time.perf_counter()
        for _ in tokens:
            pass
        return (time.perf_counter() - start) / (ANSWER - 1)

    write()
    return _median(read, 3), write()


def share(r: dict[str, Any]) -> str:
    """The measurement as a row of the table in docs/speed.md."""
    cells = (
        r["machine"],
        f"{r['memory_bytes'] / 1e9:.0f} GB",
        f"{r['copy_bytes_per_second'] / 1e9:.0f} GB/s",
        r["model"],
        r["dtype"],
        f"{r['step_seconds'][2] * 1e3:.2f} ms",
        f"{r['percent_of_bound']:.0f} %",
        f"{r['picture_seconds']:.1f} s",
        f"liquid-mlx {__version__}, MLX {version('mlx')}",
    )
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
