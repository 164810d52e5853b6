"""Sampling: the distribution, a draw from it, and the noise that a draw needs."""

import mlx.core as mx

from liquid_mlx.kernels import filter_logits, sample_codes
from liquid_mlx.kernels.sampler import apply_guidance
from liquid_mlx.params import check_sampling

SMALLEST = 2.0**-33  # half a step of the generator: stands for its 0


def distribution(
    logits: mx.array, *, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> mx.array:
    """The probabilities that `sample` draws from: float32 [B, n] for logits [B, n].

    Temperature 0 puts everything on the largest logit, the lowest id among equals. A row without
    any id above -inf has all of its mass on id 0. Settings out of range raise SettingsError.
    """
    check_sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    z = apply_guidance(logits, None, 1.0)
    first = mx.arange(z.shape[-1]) == mx.argmax(z, axis=-1, keepdims=True)
    if temperature == 0:
        return first.astype(mx.float32)
    z = filter_logits(z, temperature=temperature, top_k=top_k, top_p=top_p)
    empty = mx.max(z, axis=-1, keepdims=True) == -mx.inf
    return mx.softmax(mx.where(empty & first, 0, z), axis=-1)


def sample(
    logits: mx.array,
    key: mx.array,
    *,
    unconditional: mx.array | None = None,
    guidance: float = 1.0,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
) -> mx.array:
    """Draw one id per row: uint32 [B] from logits [B, n].

    Args:
        logits: float32, bfloat16 or float16.
        key: [2] for all rows, or [B, 2], one per row (see `fold_in`). A row drawn with its own
            key comes out the same alone as among others.
        unconditional: the other logits of guidance, used if `guidance` is above 1.
        temperature, top_k, top_p: see `distribution`.
    """
    check_sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    return sample_codes(
        logits,
        unconditional,
        noise(key, logits.shape) if temperature > 0 else mx.zeros(logits.shape),
        guidance=guidance,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )


def noise(key: mx.array, shape: tuple[int, ...]) -> mx.array:
    """Uniform float32 noise in the open interval (0, 1), with at least 24 bits.

    `key` is [2] (one stream for the whole shape) or [B, 2] with shape [B, ...] (a stream per row).
    Uniforms are the same on every chip; MLX's lie in [0, 1), so 0 is moved up.
    """
    if key.ndim == 1:
        return mx.maximum(mx.random.uniform(shape=shape, key=key), SMALLEST)
    row = list(shape[1:])
    return mx.maximum(mx.vmap(lambda k: mx.random.uniform(shape=row, key=k))(key), SMALLEST)


def fold_in(key: mx.array, number: int | mx.array) -> mx.array:
    """A new key from a key and a number, such as a position: uint32 [..., 2] from [..., 2].

    The same pair always gives the same key; different numbers give different keys. `number` may be
    an array that broadcasts against the keys, so that all positions can be derived at once.
    """
    hashed = _hash(key) if key.ndim == 1 else mx.vmap(_hash)(key)
    number = mx.array(number, dtype=mx.uint32)[..., None]
    return hashed ^ mx.concatenate([mx.zeros_like(number), number], axis=-1)


def _hash(key: mx.array) -> mx.array:
    return mx.random.split(key, 1)[0]
