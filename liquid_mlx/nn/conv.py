"""The VQGAN's convolutions on [B, H, W, C], written for MLX's CPU backend.

MLX's CPU convolution copies its input into a matrix of 9 C columns, 1.2 GB for one layer at
512x512. Here a 3x3 convolution is nine matrix products instead, one per tap: in a zero-padded strip
of rows laid out as a list of pixels, each tap reads the same list from another offset, so nothing
is copied, and a strip stays in the cache. Measured against `mx.conv2d`: two to three times as fast,
in a third of the memory (benchmarks/parts/vqgan.md).
"""

from __future__ import annotations

import mlx.core as mx

from liquid_mlx.device import on_gpu

STRIP = 1 << 19  # elements of a strip


def conv3x3(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    """3x3, stride 1, zero padding of 1: [B, H, W, C] and [O, 3, 3, C] -> [B, H, W, O]."""
    if _on_cpu() and 9 * weight.shape[0] <= x.shape[-1]:
        return _one_product(x, weight, bias)
    if _on_cpu() and x.shape[-1] > 3:  # 3 channels: a small copy, narrow products
        return _nine_products(x, weight, bias)
    y = mx.conv2d(x, weight, padding=1) + bias
    if on_gpu():
        mx.eval(y)  # Metal holds Winograd's scratch, 5 times the input, until what is sent is done
    return y


def downsample3x3(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    """3x3, stride 2, one zero on the right and at the bottom: [B, H, W, C] -> [B, H/2, W/2, O]."""
    rows = _rows(x) & ~1 if _on_cpu() else x.shape[1]
    strips = []
    for start in range(0, x.shape[1], rows):
        strip = x[:, start : start + rows + 1]  # [B, rows + 1, W, C]
        last = start + rows >= x.shape[1]
        strip = mx.pad(strip, [(0, 0), (0, int(last)), (0, 1), (0, 0)])
        strips.append(mx.conv2d(strip, weight, stride=2) + bias)  # [B, rows / 2, W / 2, O]
    return mx.concatenate(strips, axis=1)


def conv1x1(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    """[B, H, W, C] and [O, 1, 1, C] -> [B, H, W, O]."""
    return mx.addmm(bias, x, weight.reshape(-1, x.shape[-1]).T)


def _on_cpu() -> bool:
    return not on_gpu()


def _rows(x: mx.array) -> int:
    batch, _, columns, channels = x.shape
    return max(2, STRIP // (batch * columns * channels))


def _one_product(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    """For few outputs, such as colours: all taps of every pixel at once, and then shifted sums."""
    _, rows, columns, channels = x.shape
    outputs = len(weight)
    taps = x @ weight.transpose(3, 1, 2, 0).reshape(channels, -1)  # [B, H, W, 9 O]
    taps = mx.pad(taps, [(0, 0), (1, 1), (1, 1), (0, 0)])
    total = bias
    for tap in range(9):
        i, j = divmod(tap, 3)
        part = taps[:, i : i + rows, j : j + columns]
        total = total + part[..., tap * outputs : (tap + 1) * outputs]
    return total


def _nine_products(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    batch, rows, columns, channels = x.shape
    width = columns + 2
    matrices = mx.contiguous(weight.transpose(1, 2, 3, 0))  # [3, 3, C, O]
    taps = [(i * width + j, matrices[i, j]) for i in range(3) for j in range(3)]
    strips = []
    for start in range(0, rows, _rows(x)):
        n = min(_rows(x), rows - start)
        top, bottom = max(start - 1, 0), min(start + n + 1, rows)
        # One row more than the convolution needs: the last taps' offset runs two pixels over.
        padding = [(0, 0), (top - start + 1, start + n + 2 - bottom), (1, 1), (0, 0)]
        pixels = mx.pad(x[:, top:bottom], padding)  # [B, n + 3, width, C]
        pixels = pixels.reshape(batch, -1, channels)  # [B, (n + 3) width, C]
        total = bias
        for offset, tap in taps:
            total = mx.addmm(total, pixels[:, offset : offset + n * width], tap)  # [B, n width, O]
        # The two pixels at the end of each row straddle two rows: drop them.
        strips.append(total.reshape(batch, n, width, -1)[:, :, :columns])  # [B, n, W, O]
    return mx.concatenate(strips, axis=1)
