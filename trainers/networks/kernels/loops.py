"""The loops of `fused`, which numba compiles: each goes over a map once, and twice at most in all.

Feature maps of few-shot tasks are larger than a core's own cache, so these operations take as long as their maps take
to be read and written. Maps are (sample, row, column, channel); `place` tells which of a window's four was its maximum,
and is None where there is no pool. g is `grad` where scale x + shift > 0, slope·`grad` elsewhere, and scale = r weight;
other letters are those of `composed`. Sums are of the maps' own type over a sample (`part`), and of float64 over
samples. What no window covers, of an odd number of rows or columns, is in the statistics all the same.
"""

from __future__ import annotations

import numpy as np

from metaprobe.trainers.networks.kernels.compiling import compiled

__all__ = ["backward", "forward", "twice"]

_ROWS = 32  # whose sums are of the maps' own type


@compiled
def forward(x, weight, bias, context, epsilon, slope, out, place, mean, inverse, shift):
    """Fill out, place, μ, r and shift = bias − r weight μ."""
    channels = x.shape[3]
    n = context * x.shape[1] * x.shape[2]
    middle, deviation = _moments(x[:context].reshape(n, channels))
    scale = np.empty_like(bias)
    for c in range(channels):
        mean[c] = middle[c]
        inverse[c] = 1 / np.sqrt(deviation[c] / n + epsilon)
        scale[c] = weight[c] * inverse[c]
        shift[c] = bias[c] - mean[c] * scale[c]
    if place is None:
        _relu(x, scale, shift, x.dtype.type(slope), out)
    else:
        _relu_of_maximum(x, scale, shift, x.dtype.type(slope), out, place)


@compiled
def backward(grad, x, weight, mean, inverse, shift, place, context, slope, by_x, by_weight, by_bias):
    """Fill ∂x, ∂weight and ∂bias."""
    channels = x.shape[3]
    n = context * x.shape[1] * x.shape[2]
    scale, line = weight * inverse, np.empty((2, channels), x.dtype)
    sums = _sums(grad, x, place, scale, shift, x.dtype.type(slope), mean)
    for c in range(channels):
        by_bias[c] = sums[0, c]
        by_weight[c] = sums[1, c] * inverse[c]
        line[1, c] = -scale[c] * inverse[c] * by_weight[c] / n
        line[0, c] = -scale[c] * by_bias[c] / n - line[1, c] * mean[c]
    _add(grad, x, place, scale, shift, x.dtype.type(slope), context, line, by_x)


@compiled
def twice(
    u, v, w, grad, x, weight, mean, inverse, shift, place, by_weight, by_bias, context, slope, by_out, by_x, q
):  # fmt: skip
    """Fill the derivatives of <u, ∂x> + <v, ∂weight> + <w, ∂bias> by ∂out, x and weight."""
    channels = x.shape[3]
    n = context * x.shape[1] * x.shape[2]
    scale, line, lines = weight * inverse, np.empty((2, channels), x.dtype), np.empty((3, channels), x.dtype)
    sums = _sums_along(u, grad, x, place, scale, shift, x.dtype.type(slope), mean, context)
    for c in range(channels):
        first, second = sums[1, c], sums[2, c] * inverse[c]
        q[c] = inverse[c] * (sums[0, c] - (first * by_bias[c] + second * by_weight[c]) / n)
        a = inverse[c] * (v[c] - scale[c] * second / n)
        b = -inverse[c] * scale[c] * by_weight[c] / n
        line[1, c] = a
        line[0, c] = w[c] - scale[c] * first / n - a * mean[c]
        rise = -inverse[c] * (a * by_weight[c] + b * second + scale[c] * q[c]) / n
        lines[0, c] = -(a * by_bias[c] + b * first) / n - rise * mean[c]
        lines[1, c] = rise
        lines[2, c] = b
    _add_along(u, grad, x, place, scale, shift, x.dtype.type(slope), context, line, lines, by_out, by_x)


@compiled
def _moments(x):
    """(row, channel) → each channel's mean, and sum of squared deviations from it (Chan et al. 1983, Eq. 2.1).

    A block's rows are summed less its first, so that no digits are lost where a mean is far from 0.
    """
    rows, channels = x.shape
    mean, deviation = np.zeros(channels), np.zeros(channels)
    part, first = np.empty((2, channels), x.dtype), np.empty(channels, x.dtype)
    for start in range(0, rows, _ROWS):
        stop = min(start + _ROWS, rows)
        for c in range(channels):
            first[c] = x[start, c]
            part[0, c] = part[1, c] = 0
        fours = start + (stop - start) // 4 * 4
        for row in range(start, fours, 4):  # four at once: sums are read and written as often as maps otherwise
            for c in range(channels):
                p, q = x[row, c] - first[c], x[row + 1, c] - first[c]
                r, s = x[row + 2, c] - first[c], x[row + 3, c] - first[c]
                part[0, c] += (p + q) + (r + s)
                part[1, c] += (p * p + q * q) + (r * r + s * s)
        for row in range(fours, stop):
            for c in range(channels):
                p = x[row, c] - first[c]
                part[0, c] += p
                part[1, c] += p * p
        for c in range(channels):
            own = part[0, c] / np.float64(stop - start)
            between = first[c] + own - mean[c]
            mean[c] += between * (stop - start) / stop
            deviation[c] += part[1, c] - own * part[0, c] + between * between * (start * (stop - start) / stop)
    return mean, deviation


@compiled
def _relu(x, scale, shift, slope, out):
    samples, height, width, channels = x.shape
    for n in range(samples):
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    z = scale[c] * x[n, i, j, c] + shift[c]
                    out[n, i, j, c] = slope * z if z <= 0 else z


@compiled
def _relu_of_maximum(x, scale, shift, slope, out, place):
    """The first of equal values is the maximum, as torch has it; what is not a number is."""
    samples, height, width, channels = out.shape
    for n in range(samples):
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    most, at = scale[c] * x[n, 2 * i, 2 * j, c] + shift[c], np.uint8(0)
                    z = scale[c] * x[n, 2 * i, 2 * j + 1, c] + shift[c]
                    more = z > most or z != z
                    most, at = z if more else most, np.uint8(1) if more else at
                    z = scale[c] * x[n, 2 * i + 1, 2 * j, c] + shift[c]
                    more = z > most or z != z
                    most, at = z if more else most, np.uint8(2) if more else at
                    z = scale[c] * x[n, 2 * i + 1, 2 * j + 1, c] + shift[c]
                    more = z > most or z != z
                    most, at = z if more else most, np.uint8(3) if more else at
                    out[n, i, j, c] = slope * most if most <= 0 else most
                    place[n, i, j, c] = at


@compiled
def _sums(grad, x, place, scale, shift, slope, mean):
    """Σ g and Σ g (x − μ)."""
    samples, height, width, channels = grad.shape
    size = 1 if place is None else 2
    sums, part = np.zeros((2, channels)), np.empty((2, channels), x.dtype)
    for n in range(samples):
        part[:] = 0
        for i in range(height):
            for j in range(width):
                for k in range(size * size):
                    row, column = i * size + k // size, j * size + k % size
                    for c in range(channels):
                        at = x[n, row, column, c]
                        g = grad[n, i, j, c] * (x.dtype.type(1) if scale[c] * at + shift[c] > 0 else slope)
                        if place is not None:
                            g = g if place[n, i, j, c] == k else x.dtype.type(0)
                        part[0, c] += g
                        part[1, c] += g * (at - mean[c])
        sums += part
    return sums


@compiled
def _add(grad, x, place, scale, shift, slope, context, line, by_x):
    """by_x = scale g + 1_c (line₀ + line₁ x)."""
    samples, height, width, channels = grad.shape
    size = 1 if place is None else 2
    for n in range(samples):
        inside = x.dtype.type(n < context)
        for i in range(height):
            for j in range(width):
                for k in range(size * size):
                    row, column = i * size + k // size, j * size + k % size
                    for c in range(channels):
                        at = x[n, row, column, c]
                        g = grad[n, i, j, c] * (x.dtype.type(1) if scale[c] * at + shift[c] > 0 else slope)
                        if place is not None:
                            g = g if place[n, i, j, c] == k else x.dtype.type(0)
                        by_x[n, row, column, c] = scale[c] * g + inside * (line[0, c] + line[1, c] * at)
        for row in range(x.shape[1]):
            for column in range(size * width if row < size * height else 0, x.shape[2]):
                for c in range(channels):
                    by_x[n, row, column, c] = inside * (line[0, c] + line[1, c] * x[n, row, column, c])


@compiled
def _sums_along(u, grad, x, place, scale, shift, slope, mean, context):
    """Σ u g, Σ_c u and Σ_c u (x − μ)."""
    samples, height, width, channels = grad.shape
    size = 1 if place is None else 2
    sums, part = np.zeros((3, channels)), np.empty((3, channels), x.dtype)
    for n in range(samples):
        part[:] = 0
        for i in range(height):
            for j in range(width):
                for k in range(size * size):
                    row, column = i * size + k // size, j * size + k % size
                    for c in range(channels):
                        at = x[n, row, column, c]
                        g = grad[n, i, j, c] * (x.dtype.type(1) if scale[c] * at + shift[c] > 0 else slope)
                        if place is not None:
                            g = g if place[n, i, j, c] == k else x.dtype.type(0)
                        along = u[n, row, column, c]
                        part[0, c] += along * g
                        part[1, c] += along
                        part[2, c] += along * (at - mean[c])
        for row in range(x.shape[1]):
            for column in range(size * width if row < size * height else 0, x.shape[2]):
                for c in range(channels):
                    part[1, c] += u[n, row, column, c]
                    part[2, c] += u[n, row, column, c] * (x[n, row, column, c] - mean[c])
        sums[0] += part[0]
        if n < context:
            sums[1:] += part[1:]
    return sums


@compiled
def _add_along(u, grad, x, place, scale, shift, slope, context, line, lines, by_out, by_x):
    """By ∂out: scale u + line₀ + line₁ x, as g is of ∂out; by x: line₁ g + 1_c (lines₀ + lines₁ x + lines₂ u)."""
    samples, height, width, channels = grad.shape
    size = 1 if place is None else 2
    for n in range(samples):
        inside = x.dtype.type(n < context)
        for i in range(height):
            for j in range(width):
                for k in range(size * size):
                    row, column = i * size + k // size, j * size + k % size
                    for c in range(channels):
                        at = x[n, row, column, c]
                        by_g = scale[c] * u[n, row, column, c] + line[0, c] + line[1, c] * at
                        by_g *= x.dtype.type(1) if scale[c] * at + shift[c] > 0 else slope
                        if place is None:
                            by_out[n, i, j, c] = by_g
                        else:
                            by_out[n, i, j, c] = by_g if place[n, i, j, c] == k else by_out[n, i, j, c]
                    for c in range(channels):
                        at = x[n, row, column, c]
                        g = grad[n, i, j, c] * (x.dtype.type(1) if scale[c] * at + shift[c] > 0 else slope)
                        if place is not None:
                            g = g if place[n, i, j, c] == k else x.dtype.type(0)
                        straight = lines[0, c] + lines[1, c] * at + lines[2, c] * u[n, row, column, c]
                        by_x[n, row, column, c] = line[1, c] * g + inside * straight
        for row in range(x.shape[1]):
            for column in range(size * width if row < size * height else 0, x.shape[2]):
                for c in range(channels):
                    straight = lines[0, c] + lines[1, c] * x[n, row, column, c] + lines[2, c] * u[n, row, column, c]
                    by_x[n, row, column, c] = inside * straight
