"""From logits to drawn ids: guidance, temperature, top-k, top-p and the draw, for all rows at once.

The draw is a Gumbel argmax: argmax(z - log(-log(noise))) over the kept ids is a draw from their
renormalised distribution (Gumbel, 1954; Maddison et al., "A* Sampling", 2014). The same logits and
noise always give the same id.
"""

from functools import lru_cache

import mlx.core as mx

from liquid_mlx.kernels import sampler_source as source
from liquid_mlx.kernels.dispatch import Backend, best_backend, build, fitting_threads

LARGEST = 3.4028234663852886e38  # of float32: stands for +inf, which has no softmax
COLDEST = 1e-5  # temperatures between 0 and this are raised to it
MOST_HELD = 16  # values that a thread of the kernel keeps in registers


def sample_codes(
    conditional: mx.array,
    unconditional: mx.array | None,
    noise: mx.array,
    *,
    guidance: float,
    temperature: float,
    top_k: int,
    top_p: float,
    backend: Backend | None = None,
) -> mx.array:
    """Draw one id per row; each row is guided, filtered and drawn by itself.

    Args:
        conditional: logits [B, n], float32, bfloat16 or float16. NaN counts as -inf (never drawn).
        unconditional: logits like `conditional`, or None.
        noise: uniform float32 [B, n] in the open interval (0, 1); not read at temperature 0.
        guidance: above 1, logits become `u + (c - u) * guidance` in float32; else they are `c`.
        temperature: 0 takes the largest logit; else logits are divided by it (at least 1e-5).
        top_k: keep the k largest and all that equal the k-th; 0 keeps all.
        top_p: keep the likeliest ids up to the first that crosses p, lower ids first among equals.
        backend: "metal", "cuda", "mlx", or None for the best there is.

    Returns:
        uint32 [B]. The lowest id wins ties; a row without any id above -inf gives 0.

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    _check(conditional, unconditional, noise)
    if guidance <= 1:
        unconditional = None
    if (chosen := best_backend(backend)) != "mlx":
        if temperature == 0 and unconditional is None:
            return mx.argmax(mx.where(mx.isnan(conditional), -mx.inf, conditional), axis=-1)
        guided = unconditional is not None
        if threads := _threads(chosen, conditional.shape[1], guided, conditional.dtype):
            settings = _settings(guidance, temperature, top_k, top_p)
            return _launch(chosen, conditional, unconditional, noise, settings, threads)[0]
    z = apply_guidance(conditional, unconditional, guidance)
    if temperature == 0:
        return mx.argmax(z, axis=-1)
    z = filter_logits(z, temperature=temperature, top_k=top_k, top_p=top_p)
    return mx.argmax(z - mx.log(-mx.log(noise)), axis=-1)


def apply_guidance(
    conditional: mx.array, unconditional: mx.array | None, guidance: float
) -> mx.array:
    """Guided logits in float32, at most `LARGEST`, NaN replaced by -inf."""
    z = conditional.astype(mx.float32)
    if unconditional is not None:
        u = unconditional.astype(mx.float32)
        z = u + (z - u) * guidance
    return mx.minimum(mx.where(mx.isnan(z), -mx.inf, z), LARGEST)


def filter_logits(z: mx.array, *, temperature: float, top_k: int, top_p: float) -> mx.array:
    """Divide by the temperature (not 0) and set to -inf what top-k and top-p leave out.

    `z` is float32 [B, n] as from `apply_guidance`; a draw follows the softmax of the result.
    """
    z = mx.minimum(z / max(temperature, COLDEST), LARGEST)
    largest = None  # the values that may be kept, in ascending order
    if 0 < top_k < z.shape[-1]:
        largest = mx.sort(mx.topk(z, top_k, axis=-1), axis=-1)
        z = mx.where(z < largest[:, :1], -mx.inf, z)
    if top_p < 1:
        largest = mx.sort(z, axis=-1) if largest is None else largest
        z = mx.where(_nucleus(z, largest, top_p), z, -mx.inf)
    return z


def _nucleus(z: mx.array, largest: mx.array, top_p: float) -> mx.array:
    """Where `z` belongs to the top p: all above a value tau, and the first few that equal it."""
    best = mx.maximum(largest[:, -1:], -LARGEST)
    weights = mx.exp(z - best)
    limit = top_p * weights.sum(axis=-1, keepdims=True)
    # tau: the least value with at most `limit` above it
    masses = mx.exp(largest - best)
    above = mx.cumsum(masses, axis=-1, reverse=True, inclusive=False)
    at = mx.argmax(above <= limit, axis=-1, keepdims=True)
    tau = mx.take_along_axis(largest, at, axis=-1)
    mass = mx.where(z > tau, weights, 0).sum(axis=-1, keepdims=True)
    room = mx.maximum(mx.floor((limit - mass) / mx.take_along_axis(masses, at, axis=-1)), 0)
    ties = z == tau
    return (z > tau) | (ties & (mx.cumsum(ties.astype(mx.float32), axis=-1) <= room + 1))


def _launch(
    backend: Backend,
    conditional: mx.array,
    unconditional: mx.array | None,
    noise: mx.array,
    settings: mx.array,
    threads: int,
) -> list[mx.array]:
    """[ids], and scratch memory if the row does not fit the registers of so many threads."""
    rows, n = conditional.shape
    places, values = layout(n)
    own = -(-places // threads) * values
    held = own <= MOST_HELD
    kernel = build(
        backend,
        "sample_held" if held else "sample_streamed",
        ("conditional", "unconditional", "noise", "settings"),
        ("ids",) if held else ("ids", "keys", "masses"),
        source.HELD if held else source.STREAMED,
        source.HELD_HEADER if held else source.STREAMED_HEADER,
    )
    other = conditional if unconditional is None else unconditional
    return kernel(
        inputs=[conditional, other, noise, settings],
        template=[
            ("GUIDED", unconditional is not None),
            ("N", n),
            ("VALUES", values),
            ("TEAMS", places // 32),
            ("GROUPS", threads // 32),
        ],
        grid=(threads, rows, 1),
        threadgroup=(threads, 1, 1),
        output_shapes=[(rows,), *([] if held else [(rows, own * threads)] * 2)],
        output_dtypes=[mx.uint32] if held else [mx.uint32, mx.uint32, mx.float32],
    )


def _threads(backend: Backend, n: int, guided: bool, dtype: mx.Dtype) -> int:
    """Threads that the kernel gets for a row of n values on this machine; 0 if it cannot run."""

    def launch(threads: int) -> list[mx.array]:
        logits = mx.zeros((1, n), dtype)
        other = logits if guided else None
        return _launch(backend, logits, other, mx.full((1, n), 0.5), mx.zeros(4), threads)

    name = f"sample [{n}] {dtype}{' guided' * guided}"
    return fitting_threads(backend, name, layout(n)[0], 32, launch)


def layout(n: int) -> tuple[int, int]:
    """Places of a row, and values per place: about 8, more only past 8192.

    A thread takes one place, or several where it may not have so many threads. Sums are made place
    by place, so they do not depend on that.
    """
    places = min(32 * -(-n // (32 * 8)), 1024)
    return places, -(-n // places)


@lru_cache(maxsize=64)
def _settings(guidance: float, temperature: float, top_k: int, top_p: float) -> mx.array:
    """The settings as the kernel reads them: an array, so that new values compile nothing."""
    return mx.array([guidance, temperature, top_k, top_p], dtype=mx.float32)


def _check(conditional: mx.array, unconditional: mx.array | None, noise: mx.array) -> None:
    shape = conditional.shape
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"logits must be [rows, ids], not {shape}")
    if conditional.dtype not in (mx.float32, mx.bfloat16, mx.float16):
        raise ValueError(f"logits must be float32, bfloat16 or float16, not {conditional.dtype}")
    for other in [] if unconditional is None else [unconditional]:
        if other.shape != shape or other.dtype != conditional.dtype:
            raise ValueError("conditional and unconditional logits differ in shape or dtype")
    if noise.shape != shape or noise.dtype != mx.float32:
        raise ValueError(f"noise must be float32 {shape}, not {noise.dtype} {noise.shape}")
