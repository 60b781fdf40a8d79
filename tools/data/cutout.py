"""cutout.py - the one thing on a calm ground, by the colour of the picture's border.

    mask = cutout.clean(picture)        # bool (h, w), or None where the cut is not clean

The ground is what hangs together with the border and has the border's colour, which may change
slowly over the picture, and be somewhat darker or lighter (folds, soft shadows). The largest part
of what is left, with its holes filled, is the thing. A cut is clean when nearly all of the border
is ground, when nothing else of size lies on the ground, and when a threshold half as large again
cuts the same. Needs numpy and Pillow.
"""
import numpy as np
from PIL import Image, ImageFilter

RING = 4            # pixels of the border that tell the ground's colour
SHADE = (0.75, 1.1)  # what is so many times the ground's colour may be ground
NOISE = 30          # distance from the ground's colour that a tenth of the border may exceed
COVER = (0.05, 0.8)  # of the picture, that a thing may have
ALONE = 0.9         # of what is not ground, that the thing must be
TOUCHES = 0.02      # of the outermost pixels, that the thing may cover
AGREE = 0.9         # IoU of the cuts by two thresholds


def border(shape, n):
    out = np.ones(shape, bool)
    out[n:-n, n:-n] = False
    return out


def grow(seed, allowed):
    """What of `allowed` hangs together with the seed."""
    reached = seed & allowed
    while True:
        more = reached.copy()
        more[1:] |= reached[:-1]
        more[:-1] |= reached[1:]
        more[:, 1:] |= reached[:, :-1]
        more[:, :-1] |= reached[:, 1:]
        more &= allowed
        if (more == reached).all():
            return reached
        reached = more


def distance(rgb):
    """(h, w): how far each pixel is from the ground's colour there. The ground's colour is a plane
    through the border's pixels, fitted again without those far from it."""
    h, w = rgb.shape[:2]
    y, x = np.mgrid[0:h, 0:w]
    place = np.stack([np.ones(h * w), x.ravel() / w, y.ravel() / h], 1)
    flat, ring = rgb.reshape(-1, 3).astype(np.float64), border((h, w), RING).ravel()
    near = ring
    for _ in range(3):
        ground = place @ np.linalg.lstsq(place[near], flat[near], rcond=None)[0]
        off = np.sqrt(((flat - ground) ** 2).sum(1))
        near = ring & (off <= max(12, 2.5 * np.median(off[ring])))
    shade = np.clip((flat * ground).sum(1) / np.maximum((ground ** 2).sum(1), 1), *SHADE)
    return np.sqrt(((flat - shade[:, None] * ground) ** 2).sum(1)).reshape(h, w)


def largest(rest):
    """The largest part that hangs together."""
    rest, best = rest.copy(), np.zeros_like(rest)
    while rest.sum() > best.sum():
        seed = np.zeros_like(rest)
        seed[np.unravel_index(rest.argmax(), rest.shape)] = True
        part = grow(seed, rest)
        rest &= ~part
        if part.sum() > best.sum():
            best = part
    return best


def smooth(mask):
    """Without what is thinner than five pixels."""
    im = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(im.filter(ImageFilter.MinFilter(5)).filter(ImageFilter.MaxFilter(5))) > 127


def cut(off, threshold):
    """The thing, and its share of all that is not ground."""
    other = ~grow(border(off.shape, 1), off <= threshold)
    thing = largest(other)
    return smooth(thing), thing.sum() / max(1, other.sum())


def clean(im):
    off = distance(np.asarray(im.convert("RGB").filter(ImageFilter.MedianFilter(5))))
    noise = np.quantile(off[border(off.shape, RING)], 0.9)
    if noise > NOISE:
        return None
    threshold = max(20, 1.5 * noise)
    mask, share = cut(off, threshold)
    edge = border(off.shape, 2)
    if not COVER[0] <= mask.mean() <= COVER[1] or share < ALONE or (mask & edge).sum() > TOUCHES * edge.sum():
        return None
    other, _ = cut(off, 1.5 * threshold)
    return mask if (mask & other).sum() >= AGREE * (mask | other).sum() else None
