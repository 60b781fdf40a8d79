"""Build lamm-mini's tokenizer.model: a SentencePiece BPE model written piece by piece.

Why not train one: the prompts of the paper are fixed texts, and a pixel costs as many decoder rows
as its question and answer have tokens. So the frequent parts of the prompts are single pieces, and
so are the numbers 0..255, alone ("34") and with a comma ("31,"). What remains is spelled by common
English words, character pairs, single characters and, as in LLaMA-2, bytes.

Layout of ids: 0 <unk>, 1 <s>, 2 </s>, 3..258 bytes, merged pieces in falling score, characters.
BPE joins the adjacent pair with the highest score first, so the order of the list below is the
order of joining: numbers, then prompt words (each grown letter by letter from its left end, so that
every piece has a pair to come from), then runs of prompt words, then English.

    python3 tools/train_mini/build_tokenizer.py models/lamm-mini/tokenizer.model
"""
import random
import sys

from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as pb

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


def numbers():
    out = [f"{n}" for n in range(10, 100)] + [f"{n}" for n in range(100, 256)]
    return out + [f"{n}," for n in range(256)]


def grow(word):
    """The beginnings of a word, shortest first: each joins the one before it and a character."""
    return [word[:i] for i in range(2, len(word) + 1)]


def merged_pieces():
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


def build():
    m = pb.ModelProto()

    def add(piece, score, kind):
        p = m.pieces.add()
        p.piece, p.score, p.type = piece, score, kind

    P = pb.ModelProto.SentencePiece  # the kinds of piece
    add("<unk>", 0, P.UNKNOWN)
    add("<s>", 0, P.CONTROL)
    add("</s>", 0, P.CONTROL)
    for b in range(256):
        add(f"<0x{b:02X}>", 0, P.BYTE)
    merged = merged_pieces()
    for i, piece in enumerate(merged):
        add(piece, -float(i), P.NORMAL)
    chars = [SPACE] + [chr(c) for c in range(33, 127)]
    for i, c in enumerate(chars):
        add(c, -float(len(merged) + i), P.NORMAL)
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
    return m


def check(path):
    """The real SentencePiece splits prompts as meant, and decodes what it encoded."""
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
    example = enc("</Img> [segmentation] the brown dog loc: [3,40] mask: [/INST]")
    print(sp.get_piece_size(), "pieces;", example)


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as f:
        f.write(build().SerializeToString())
    check(sys.argv[1])
