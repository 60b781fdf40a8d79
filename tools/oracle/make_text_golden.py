"""Golden vectors: what the real sentencepiece makes of 10,000 strings, and Pillow of pictures.

    python3 tools/oracle/make_text_golden.py             # writes tests/golden/text/
    /usr/bin/python3 tools/oracle/make_text_golden.py resize    # its resize.txt

strings.bin     10,000 strings: u16 length, bytes. Prompts, answers, English, scripts of the world,
                runs of spaces, control characters, bytes that are no UTF-8, spelled special pieces.
<name>.ids      for each string, and for 1,000 lists of random ids behind them: u16 count, u16 ids,
                u32 FNV-1a of what sentencepiece decodes them to.
trained.model   a BPE model trained here as LLaMA-2's was (identity, byte fallback, digits split),
                with user-defined pieces, from the licence texts that every Debian carries.
resize.txt      "in_w in_h out_w out_h fnv" of Pillow 9.4's bicubic on pictures of a fixed formula.
"""
import io
import os
import random
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.path.join(ROOT, "tests", "golden", "text")
LICENCES = ["/usr/share/common-licenses/" + n for n in ("GPL-2", "GPL-3", "Apache-2.0", "Artistic", "MPL-2.0")]
N_STRINGS, N_RANDOM = 10000, 1000

SIZES = [  # in_w, in_h, out_w, out_h
    (1, 1, 64, 64), (1, 300, 64, 64), (300, 1, 64, 64), (2, 2, 448, 448), (64, 64, 64, 64),
    (64, 100, 64, 64), (100, 64, 64, 64), (63, 65, 64, 64), (640, 480, 64, 64), (481, 321, 448, 448),
    (1023, 767, 128, 128), (37, 41, 448, 448), (2000, 3, 64, 64), (3, 2000, 64, 64), (447, 449, 448, 448),
    (1500, 1100, 1, 1), (500, 400, 7, 301),
]


def fnv(data):
    h = 2166136261
    for b in data:
        h = (h ^ b) * 16777619 & 0xFFFFFFFF
    return h


# ---- strings ----

SCRIPTS = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x400), (0x400, 0x500), (0x5D0, 0x5EB), (0x600, 0x700),
           (0x900, 0x980), (0x3040, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0x1F300, 0x1F700),
           (0x2000, 0x2070), (0x2580, 0x2590), (0xE000, 0xE010), (0xFFF0, 0x10000), (0x10FFF0, 0x110000)]
TAGS = ["[INST] <Img>", "</Img><Img>", "</Img> [reconstruct] loc: [12,34] rgb: [/INST]", "[/INST]", "<s>", "</s>",
        "<unk>", "<0x41>", "\u2581", "\u2581\u2581", "yes", "no", "{<12><3><100><99>}", "<p>the dog</p>", "<delim>",
        "[CarRacing]", "[Space Invaders]", "$$", "\ufffd", "\u2047"]


def words_of(texts):
    return sorted({w for t in texts for w in t.split() if len(w) < 30})


def one_string(rng, i, words):
    kind = i % 10
    if kind == 0:
        return (f"</Img> [reconstruct] loc: [{rng.randrange(512)},{rng.randrange(512)}] rgb:"
                + " " * rng.randrange(4) + "[/INST]").encode()
    if kind == 1:
        return ("[" + ",".join(str(rng.randrange(rng.choice([10, 100, 256, 99999]))) for _ in range(3)) + "]").encode()
    if kind == 2:
        task = rng.choice(["[vqa]", "[refer]", "[segmentation]", "[caption]", "[identify]", "[detection]"])
        return f"{task} {' '.join(rng.choices(words, k=rng.randint(1, 6)))}".encode()
    if kind == 3:
        return (" " * rng.randrange(4)).join(rng.choices(words, k=rng.randint(1, 8))).encode()
    if kind == 4:
        return "".join(rng.choices(TAGS + words + [" ", "  ", "\n", "\t", "\0"], k=rng.randint(1, 6))).encode()
    if kind == 5:
        return "".join(chr(rng.randrange(*rng.choice(SCRIPTS))) for _ in range(rng.randint(1, 12))).encode()
    if kind == 6:
        lo, hi = rng.choice(SCRIPTS)
        return "".join(chr(rng.randrange(lo, hi)) for _ in range(rng.randint(1, 14))).encode()
    if kind == 7:
        return bytes(rng.randrange(256) for _ in range(rng.randint(0, 12)))
    if kind == 8:
        text = "".join(rng.choices(words + [" "], k=4)).encode()
        cut = rng.randrange(len(text) + 1)
        return text[:cut] + bytes([rng.choice([0x80, 0xC0, 0xC3, 0xE2, 0xED, 0xF0, 0xF4, 0xF8, 0xFF])]) + text[cut:]
    letters = rng.choice(["ab", "aA ", " ", "0123456789", "the", "[]<>/,:", "\u2581 ", "e t"])
    return "".join(rng.choice(letters) for _ in range(rng.randint(1, 40))).encode()


def strings(words):
    rng = random.Random(20)
    return [one_string(rng, i, words) for i in range(N_STRINGS)]


# ---- tokenizers ----

def train(spm, texts):
    model = io.BytesIO()
    lines = [line.strip() for t in texts for line in t.splitlines() if line.strip()]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=2000, model_type="bpe", byte_fallback=True,
        split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.9995,
        add_dummy_prefix=True, allow_whitespace_only_pieces=True, max_sentencepiece_length=16, num_threads=1,
        user_defined_symbols=["<Img>", "</Img>", "<delim>", "ab", "abab"], minloglevel=2)
    return model.getvalue()


def golden(spm, model, texts):
    sp = spm.SentencePieceProcessor(model_proto=model)
    rng = random.Random(21)
    lists = [sp.encode(t) for t in texts]
    lists += [[rng.randrange(sp.vocab_size()) for _ in range(rng.randint(0, 12))] for _ in range(N_RANDOM)]
    out = []
    for ids in lists:
        text = sp.decode(ids, out_type=str) if ids else ""
        out.append(struct.pack(f"<H{len(ids)}HI", len(ids), *ids, fnv(text.encode())))
    return b"".join(out)


def put(name, data):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)
    print(f"{name}: {len(data)} bytes")


def read(path, mode="rb"):
    with open(path, mode) as f:
        return f.read()


def make_text():
    import sentencepiece as spm
    texts = [read(p, "r") for p in LICENCES]
    trained = train(spm, texts)
    all_strings = strings(words_of(texts))
    put("strings.bin", b"".join(struct.pack("<H", len(s)) + s for s in all_strings))
    put("trained.model", trained)
    for name, model in (("lamm-mini", read(os.path.join(ROOT, "models/lamm-mini/tokenizer.model"))),
                        ("tiny-digits", read(os.path.join(ROOT, "tests/golden/tiny-digits/tokenizer.model"))),
                        ("trained", trained)):
        put(name + ".ids", golden(spm, model, all_strings))


# ---- pictures ----

def picture(w, h):
    """Every byte from its place alone, rough and smooth parts mixed, as in test_resize.c."""
    out = bytearray(w * h * 3)
    for i in range(len(out)):
        x, y, c = i // 3 % w, i // 3 // w, i % 3
        out[i] = ((x * 7 + y * 3 + c * 50) ^ (x * y >> 3)) & 255 if (x + y) % 5 else 255 * (c & 1)
    return bytes(out)


def make_resize():
    import PIL
    from PIL import Image
    assert PIL.__version__.startswith("9.4"), "Debian 12's Pillow is 9.4; later ones change the order of passes"
    lines = []
    for iw, ih, ow, oh in SIZES:
        got = Image.frombytes("RGB", (iw, ih), picture(iw, ih)).resize((ow, oh), Image.BICUBIC).tobytes()
        lines.append(f"{iw} {ih} {ow} {oh} {fnv(got):08x}\n")
    put("resize.txt", "".join(lines).encode())


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    make_resize() if sys.argv[1:] == ["resize"] else make_text()
