"""The counter-based random numbers of kernels/base/rng.c, in numpy.

The n-th number of a seed is a pure function, so a C test and this generator make the same hundred
million weights without either storing them.
"""
import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def u64(seed, n):
    """Hash of (seed, n); n is an array of uint64."""
    with np.errstate(over="ignore"):
        return _mix(np.array([seed], dtype=np.uint64) + (n + np.uint64(1)) * _GOLDEN)


def uniform(seed, n):
    """[0, 1) in steps of 2^-24, float32."""
    return (u64(seed, n) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def name_seed(name):
    """FNV-1a of a tensor's name: its seed, whatever the order in which tensors are made."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def weights(name, shape, std, mean=0.0, salt=""):
    """Uniform numbers of the given deviation as float32: mean + (u - 1/2) * (std * sqrt 12).

    The factor is rounded to float32 first; then one rounded product and one rounded sum, so that C
    computes the same bits.
    """
    count = int(np.prod(shape))
    factor = np.float32(std * np.sqrt(12.0))
    out = np.empty(count, dtype=np.float32)
    seed = name_seed(salt + name)
    step = 1 << 22
    for at in range(0, count, step):
        n = np.arange(at, min(at + step, count), dtype=np.uint64)
        out[at:at + len(n)] = (uniform(seed, n) - np.float32(0.5)) * factor
    if mean:
        out += np.float32(mean)
    return out.reshape(shape)
