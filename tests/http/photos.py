"""photos.py - good pictures and hostile ones, all made by code."""
import io
import struct
import zlib

from PIL import Image


def scene(width=96, height=72, seed=0):
    picture = Image.new("RGB", (width, height))
    picture.putdata([((x * 255 // width + seed * 31) % 256, y * 255 // height,
                      (x // 9 + y // 7 + seed) % 2 * 160 + 40) for y in range(height) for x in range(width)])
    return picture


def encode(picture, kind="PNG", **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def png(seed=0, width=96, height=72):
    return encode(scene(width, height, seed))


def jpeg(**options):
    return encode(scene(), "JPEG", quality=80, **options)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width, height, depth=8, colour=2, interlace=0, rows=None, extra=b""):
    """A PNG by hand; `rows` (bytes, filter bytes included) defaults to zeros."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    line = (width * channels * depth + 7) // 8 + 1
    packer = zlib.compressobj(9)
    if rows is None:
        data = b"".join(packer.compress(bytes(line)) for _ in range(height)) + packer.flush()
    else:
        data = zlib.compress(rows, 9)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", data)
            + chunk(b"IEND", b""))


def palette_with_transparency():
    picture = scene(40, 30).quantize(16)
    return encode(picture, "PNG", transparency=0)


def interlaced():
    """Adam7 of a 1x1 picture is its one pass."""
    return png_of(1, 1, interlace=1, rows=b"\0\x10\x20\x30")


def progressive_bomb(scans=500):
    """A progressive JPEG whose last scan comes again and again."""
    whole = encode(scene(64, 64), "JPEG", quality=50, progressive=True)
    last = whole.rfind(b"\xff\xda")
    scan = whole[last:whole.rfind(b"\xff\xd9")]
    return whole[:last] + scan * scans + b"\xff\xd9"
