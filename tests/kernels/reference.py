"""The sampler once more, row by row in numpy and float64, to compare the kernels with."""

import numpy as np

LARGEST = np.float32(3.4028234663852886e38)


def guided(conditional, unconditional, guidance, temperature):
    """z of one row: the float32 steps that the twin documents, each rounded."""
    with np.errstate(all="ignore"):
        z = conditional.astype(np.float32)
        if unconditional is not None and guidance > 1:
            u = unconditional.astype(np.float32)
            z = u + (z - u) * np.float32(guidance)
        z = np.minimum(np.where(np.isnan(z), np.float32(-np.inf), z), LARGEST)
        if temperature > 0:
            z = np.minimum(z / np.float32(max(temperature, 1e-5)), LARGEST)
    return z


def kept(z, top_k, top_p):
    """-> bool [n], and the distance of each id from the edge of the top p, relative to all mass."""
    n = len(z)
    keep, edge = np.ones(n, bool), np.full(n, np.inf)
    if 0 < top_k < n:
        keep = z >= np.sort(z)[n - top_k]
    if top_p < 1 and np.max(z) > -np.inf:
        with np.errstate(all="ignore"):
            mass = np.where(keep, np.exp(z.astype(np.float64) - float(np.max(z))), 0)
        limit = np.float32(top_p) * np.float32(mass.sum())
        order = np.argsort(-z, kind="stable")
        before = np.zeros(n)
        before[order] = np.cumsum(mass[order]) - mass[order]
        edge = np.abs(before - float(limit)) / mass.sum()
        keep &= before <= float(limit)
    return keep, edge


def draw(z, noise, *, temperature, top_k, top_p):
    """-> the id drawn, and `close(other)`: whether rounding can make it `other` as well."""
    if temperature == 0:
        best = int(np.argmax(z))
        return best, lambda other: other == best
    keep, edge = kept(z, top_k, top_p)
    with np.errstate(all="ignore"):
        scores = z - np.log(-np.log(noise.astype(np.float64))).astype(np.float32)
        best = int(np.argmax(np.where(keep, scores, -np.inf)))

    def close(other):
        near = np.abs(scores[other] - scores[best]) <= 1e-6 * max(1.0, float(abs(scores[best])))
        return (keep[other] and near) or edge[other] < 1e-5 or edge[best] < 1e-5

    return best, close
