"""Pictures for training: random crops of the pack with colour jitter, some made by rule."""
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


class Pack:
    """The training pictures of tools/data/build_pack.py, mapped, not read."""

    def __init__(self, folder):
        self.flat = np.load(folder + "/flat.npy", mmap_mode="r")
        ix = np.load(folder + "/index.npz")
        self.off, self.shape = ix["off"], ix["shp"]

    def __len__(self):
        return len(self.shape)

    def get(self, i):
        h, w = self.shape[i]
        return np.asarray(self.flat[self.off[i]:self.off[i + 1]]).reshape(h, w, 3)


def ready(im, size):
    """What the model sees: Pillow's bicubic, then CLIP's mean and deviation."""
    x = np.asarray(im.resize((size, size), Image.BICUBIC), np.float32) / 255
    return ((x - MEAN) / STD).transpose(2, 0, 1)


def truth(im, side=64):
    """What the answers are held against: Pillow's bicubic 64x64 of the same picture; with a smaller
    `side`, that picture's side x side block means."""
    t = np.asarray(im.resize((64, 64), Image.BICUBIC))
    if side < 64:
        k = 64 // side
        means = t.reshape(side, k, side, k, 3).mean((1, 3)).round().astype(np.uint8)
        t = means.repeat(k, 0).repeat(k, 1)
    return t


def made(r):
    """A picture by rule: gradient, checkers, noise of several scales, flat colours with shapes."""
    kind = r.integers(4)
    n = 192
    a, b = r.integers(0, 256, (2, 3))
    y, x = np.mgrid[0:n, 0:n] / n
    if kind == 0:
        t = np.clip(x * r.normal() + y * r.normal() + r.random(), 0, 1)[..., None]
        im = a * (1 - t) + b * t
    elif kind == 1:
        k = r.integers(2, 24)
        t = ((np.floor(x * k + r.random()) + np.floor(y * k + r.random())) % 2)[..., None]
        im = a * (1 - t) + b * t
    elif kind == 2:
        im = np.zeros((n, n, 3))
        for s in (4, 8, 16, 32, 64, 96):
            z = Image.fromarray(r.integers(0, 256, (s, s, 3), dtype=np.uint8))
            im += np.asarray(z.resize((n, n), Image.BICUBIC), np.float64) * r.random()
        im = (im - im.min()) / (np.ptp(im) + 1e-6) * 255
    else:
        im = np.tile(a.astype(np.float64), (n, n, 1))
        for _ in range(r.integers(1, 10)):
            cx, cy, rx, ry = r.random(4)
            if r.random() < 0.5:
                inside = (np.abs(x - cx) < rx / 3) & (np.abs(y - cy) < ry / 3)
            else:
                inside = ((x - cx) ** 2 / (rx * rx / 9 + 1e-4) +
                          (y - cy) ** 2 / (ry * ry / 9 + 1e-4) < 1)
            im[inside] = r.integers(0, 256, 3)
    return Image.fromarray(np.clip(im, 0, 255).astype(np.uint8))


def crop(a, r):
    """A part of a picture: 6 to 100 % of its area, at least 48 pixels each way if it has them."""
    h, w = a.shape[:2]
    s = np.sqrt(r.uniform(0.12, 1.0))
    ch, cw = max(48, int(h * s * r.uniform(0.85, 1.0))), max(48, int(w * s * r.uniform(0.6, 1.0)))
    ch, cw = min(ch, h), min(cw, w)
    y, x = int(r.integers(h - ch + 1)), int(r.integers(w - cw + 1))
    return Image.fromarray(np.ascontiguousarray(a[y:y + ch, x:x + cw]))


def sample(pack, r, augment="all"):
    """One training picture: a crop of a photograph, flipped and recoloured, or one made by rule.
    augment: 'all', 'crop' (no more than that) or 'none' (whole photographs)."""
    if augment == "none":
        return Image.fromarray(pack.get(int(r.integers(len(pack)))))
    if augment == "crop":
        return crop(pack.get(int(r.integers(len(pack)))), r)
    if r.random() < 0.08:
        return made(r)
    im = crop(pack.get(int(r.integers(len(pack)))), r)
    if r.random() < 0.5:
        im = im.transpose(Image.FLIP_LEFT_RIGHT)
    if r.random() < 0.15:
        im = im.transpose(Image.FLIP_TOP_BOTTOM)
    if r.random() < 0.6:  # gamma, a little different for each channel
        lut = []
        g0 = np.exp(r.normal() * 0.25)
        for _ in range(3):
            g = g0 * np.exp(r.normal() * 0.08)
            lut += list(np.clip(255 * (np.arange(256) / 255) ** g, 0, 255).astype(int))
        im = im.point(lut)
    if r.random() < 0.4:
        im = ImageEnhance.Color(im).enhance(r.uniform(0.3, 1.8))
    if r.random() < 0.1:
        im = im.filter(ImageFilter.GaussianBlur(r.uniform(0.5, 2)))
    if r.random() < 0.05:
        im = Image.fromarray(255 - np.asarray(im))
    return im


def batch(pack, seed, step, B, R, C, size, augment="all", side=64):
    """B pictures, each asked R rows and C columns in each: a function of (seed, step) alone."""
    r = np.random.default_rng([seed, step])
    img = np.empty((B, 3, size, size), np.float32)
    rows = np.empty((B, R), np.int64)
    cols = np.empty((B, R, C), np.int64)
    rgb = np.empty((B, R, C, 3), np.int64)
    for b in range(B):
        im = sample(pack, r, augment)
        img[b] = ready(im, size)
        t = truth(im, side)
        rows[b] = r.permutation(64)[:R]
        for i in range(R):
            cols[b, i] = r.permutation(64)[:C]
            rgb[b, i] = t[rows[b, i], cols[b, i]]
    return tuple(torch.from_numpy(x) for x in (img, rows, cols, rgb))
