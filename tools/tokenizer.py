#!/usr/bin/env python3
"""tokenizer.py - lamm-mini's tokenizer.model: a SentencePiece BPE model written piece by piece.

    tokenizer.py models/lamm-mini/tokenizer.model

The same bytes every time, and those that lamm-mini comes with. Needs sentencepiece and protobuf.

Why not train one: the prompts (docs/model.md section 4.3) are fixed texts, and a pixel costs as
many decoder rows as its question and answer have tokens. So the frequent parts of the prompts are
single pieces, and so are the numbers 0..255, alone ("34") and with a comma ("31,"). What remains is
spelled by common English words, character pairs, single characters and, as in LLaMA-2, bytes.

Layout of ids: 0 <unk>, 1 <s>, 2 </s>, 3..258 bytes, merged pieces in falling score, characters.
BPE joins the adjacent pair with the highest score first, so the order of the list below is the
order of joining: numbers, then prompt words (each grown letter by letter from its left end, so that
every piece has a pair to come from), then runs of prompt words, then English. The second edition
adds, behind all of these so that nothing of the first is spelled differently, texts that are glued
from whatever pieces they come apart into (`glue`): the fixed parts of the other prompts, numbers
with what stands behind them in a box, answers, and the words of scenes and things (tokenizer.txt).
"""
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SPACE = "\u2581"

WORDS = [  # prompt words that are pieces of their own
    "▁[INST]", "▁<Img>", "▁</Img>", "</Img>", "▁[/INST]", "▁[reconstruct]", "▁loc:",
    "▁[segmentation]", "▁mask:", "▁rgb:", "▁[refer]", "▁[identify]", "▁[vqa]", "▁[caption]",
    "▁[grounding]", "▁[detection]", "▁[CarRacing]", "▁[Space", "▁Invaders]", "▁{<", "><", ">}",
    "<p>", "</p>", "<delim>",
]
RUNS = [  # whole stretches of prompt that are one piece, joined word by word from the left
    ["▁[INST]", "▁<Img>"],
    ["▁</Img>", "▁[reconstruct]", "▁loc:", "▁["],
    ["▁loc:", "▁["],
    ["▁mask:", "▁[/INST]"],
    ["▁rgb:", "▁[/INST]"],
    ["</Img>", "▁<Img>"],
]
TAILS = [["]", "▁rgb:▁[/INST]"], ["]", "▁mask:▁[/INST]"]]

ENGLISH = """the of and to in is on a it that with for are at left right top bottom middle above
below next what where which who how many colour color red green blue yellow white black brown grey
gray orange purple pink man woman dog cat bird car tree house sky water grass road big small large
yes no true false image picture this from location give me tell could you please describe short
answer question based respond not unanswerable one two three four five there side object person
people animal nearest biggest smallest first second third side all any nothing behind
front""".split()

PAIRS = """th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le
ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec""".split()


ACT_CAR = (
    "</Img> You are playing a Car Racing game. <Objective> Drive this red car as fast as possible and "
    "avoid leaving the road. <Tips> Control steering and avoid pressing the accelerator and turning "
    "at the same time. Action Space: [Steering, Gas, Brake]: [(0,20), (0,20), (0,20)]. [CarRacing] "
    "Please select a value for each action within their respective ranges, providing three values "
    "in total: [/INST]")
ACT_SPACE = (
    "</Img> You are playing a Space Invaders game. <Objective> Destroy the space invaders by shooting "
    "your laser cannon at them before they reach the Earth. Avoid getting hit by space invaders. "
    "<Tips> The invaders in the back rows are worth more points. <Action Space> [0: NOOP, 1: FIRE, "
    "2: RIGHT, 3: LEFT, 4: RIGHTFIRE, 5: LEFTFIRE] [Space Invaders] Choose an action from the Action "
    "Space: [/INST]")
VQA = "</Img> [vqa] Based on the image, respond to this question with a short answer:"
PROMPTS = [  # fixed parts of the second edition's prompts, each one piece
    "</Img><Img>", "</Img> [segmentation]", "</Img> [refer] give me the location of",
    "</Img> [identify]", "</Img> [caption] Briefly describe this image. [/INST]",
    "</Img> [grounding] please describe this image in details [/INST]", "</Img> [detection]", VQA,
    ACT_CAR, ACT_SPACE]
SCENE = """thing things left-most right-most top-most bottom-most second how many are there is there in
which quarter larger than same have do and that not circle triangle ring cross heart moon arrow bar
drop wheel bolt cup flag square star diamond pentagon house an""".split()


def numbers():
    out = [f"{n}" for n in range(10, 100)] + [f"{n}" for n in range(100, 256)]
    return out + [f"{n}," for n in range(256)]


def grow(word):
    """The beginnings of a word, shortest first: each joins the one before it and a character."""
    return [word[:i] for i in range(2, len(word) + 1)]


def first_edition():
    out = numbers()
    for w in WORDS:
        out += grow(w)
    out += ["▁["]
    for run in RUNS:
        out += ["".join(run[:i]) for i in range(2, len(run) + 1)]
    out += ["".join(t) for t in TAILS]
    for w in ENGLISH:
        out += grow("▁" + w)
    letters = "abcdefghijklmnopqrstuvwxyz"
    out += PAIRS + ["▁" + c for c in letters]
    seen, uniq = set(), []
    for p in out:
        if p not in seen and len(p) > 1:
            seen.add(p)
            uniq.append(p)
    return uniq


def split(text, rank):
    """The BPE of a text: join the best adjacent pair until none is a piece."""
    t = list(text.replace(" ", SPACE))
    while True:
        best = min(((rank[a + b], i) for i, (a, b) in enumerate(zip(t, t[1:])) if a + b in rank),
                   default=None)
        if best is None:
            return t
        i = best[1]
        t[i:i + 2] = [t[i] + t[i + 1]]


LONGEST = 480  # bytes of a piece; lammd takes at most 512


def glue(pieces, texts):
    """Add what joins each text, from its left end, into one piece, or a few if it is long."""
    rank = {p: i for i, p in enumerate(pieces)}
    for text in texts:
        t = split(text, rank)
        while t:
            n = 1
            while n < len(t) and len("".join(t[:n + 1]).encode()) <= LONGEST:
                n += 1
                joined = "".join(t[:n])
                if joined not in rank:
                    rank[joined] = len(pieces)
                    pieces.append(joined)
            t = t[n:]


def merged():
    """The first edition's pieces, then what the second glues together."""
    out = first_edition()
    with open(os.path.join(HERE, "tokenizer.txt"), encoding="utf-8") as f:
        words = f.read().split()
    glue(out, [f"{n}><" for n in range(101)] + [f"{n}>}}" for n in range(101)])
    glue(out, [" " + p for p in PROMPTS])
    glue(out, [f" {n}" for n in range(10)] + ["? [/INST]", ">} [/INST]"])
    glue(out, [" " + w for w in SCENE + words])
    return out


def pieces():
    """(piece, score, kind) of every id; kind as SentencePiece names it."""
    joined = merged()
    chars = [SPACE] + [chr(c) for c in range(33, 127)]
    out = [("<unk>", 0, "UNKNOWN"), ("<s>", 0, "CONTROL"), ("</s>", 0, "CONTROL")]
    out += [(f"<0x{b:02X}>", 0, "BYTE") for b in range(256)]
    return out + [(piece, -float(i), "NORMAL") for i, piece in enumerate(joined + chars)]


def build():
    from sentencepiece import sentencepiece_model_pb2 as pb
    m = pb.ModelProto()
    for piece, score, kind in pieces():
        m.pieces.add(piece=piece, score=score, type=pb.ModelProto.SentencePiece.Type.Value(kind))
    t = m.trainer_spec
    t.model_type = pb.TrainerSpec.BPE
    t.vocab_size = len(m.pieces)
    t.byte_fallback = True
    t.split_digits = False
    t.unk_id, t.bos_id, t.eos_id, t.pad_id = 0, 1, 2, -1
    n = m.normalizer_spec
    n.name = "identity"
    n.add_dummy_prefix = True
    n.remove_extra_whitespaces = False
    n.escape_whitespaces = True
    return m.SerializeToString()


def check_tasks(enc):
    """Prompts and answers of the other tasks: as few pieces as meant, a number a piece."""
    for p in PROMPTS:
        assert len(enc(p)) == 1 + len(enc(p)[0].encode()) // 400, (p, enc(p))
    rnd = random.Random(2)
    for _ in range(4000):
        x1, y1, x2, y2 = (rnd.randrange(101) for _ in range(4))
        got = enc(f"{{<{x1}><{y1}><{x2}><{y2}>}}")
        assert got == ["▁{<", f"{x1}><", f"{y1}><", f"{x2}><", f"{y2}>}}"], got
        s, g, b = (rnd.randrange(21) for _ in range(3))
        assert enc(f"[{s},{g},{b}]") == ["▁[", f"{s},", f"{g},", f"{b}", "]"]
        r, c = rnd.randrange(64), rnd.randrange(64)
        got = enc(f"</Img> [segmentation] the red circle loc: [{r},{c}] mask: [/INST]")
        assert got == ["▁</Img>▁[segmentation]", "▁the", "▁red", "▁circle", "▁loc:▁[", f"{r},",
                       f"{c}", "]▁mask:▁[/INST]"], got
    for n in range(10):
        assert enc(f"{n}") == [f"▁{n}"]
    got = enc(VQA + " is there a red thing? [/INST]")
    assert got == ["▁" + VQA.replace(" ", "▁"), "▁is", "▁there", "▁a", "▁red", "▁thing", "?▁[/INST]"], got


def check(path):
    """The real SentencePiece splits prompts as meant, and decodes what it encoded."""
    from sentencepiece import SentencePieceProcessor
    sp = SentencePieceProcessor(model_file=path)

    def enc(s):
        return [sp.id_to_piece(i) for i in sp.encode(s)]

    assert enc("[INST] <Img>") == ["▁[INST]▁<Img>"], enc("[INST] <Img>")
    for r in range(64):
        for c in range(64):
            got = enc(f"</Img> [reconstruct] loc: [{r},{c}] rgb: [/INST]")
            want = ["▁</Img>▁[reconstruct]▁loc:▁[", f"{r},", f"{c}", "]▁rgb:▁[/INST]"]
            assert got == want, got
    rnd = random.Random(1)
    for _ in range(4000):
        r, g, b = (rnd.randrange(256) for _ in range(3))
        got = enc(f"[{r},{g},{b}]")
        assert got == ["▁[", f"{r},", f"{g},", f"{b}", "]"], got
    for s in ["", " ", "  two  spaces ", "the brown dog on the left", "Grüße, 世界 🙂",
              "{<12><3><100><99>}", "[segmentation] the dog loc: [3,40] mask: [/INST]", "a\nb\tc",
              "300,999"]:
        assert sp.decode(sp.encode(s)) == s, (s, sp.decode(sp.encode(s)))
    check_tasks(enc)
    example = enc("</Img> [segmentation] the brown dog loc: [3,40] mask: [/INST]")
    print(sp.get_piece_size(), "pieces;", example)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    with open(sys.argv[1], "wb") as f:
        f.write(build())
    check(sys.argv[1])


if __name__ == "__main__":
    main()
