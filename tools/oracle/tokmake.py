"""Small tokenizer.model files in LLaMA's manner: BPE by score, byte fallback, dummy prefix.

`whole` spells every number 0..255 and every fixed part of the prompts as one piece; `digits` spells
numbers digit by digit and words in the parts that LLaMA-2's own tokenizer uses. `paper` does so for
every prompt that the engine writes: its merges are learnt from the cuts in CUTS.
"""
import re
from collections import Counter
from itertools import accumulate

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb

SPACE = "\u2581"
UNK, BOS, EOS = 0, 1, 2


def _build(merges, split_digits):
    """merges: longer pieces, the one to be merged first in front."""
    proto = pb.ModelProto()

    def add(text, score, kind):
        piece = proto.pieces.add()
        piece.piece, piece.score, piece.type = text, score, kind

    Piece = pb.ModelProto.SentencePiece
    add("<unk>", 0.0, Piece.UNKNOWN)
    add("<s>", 0.0, Piece.CONTROL)
    add("</s>", 0.0, Piece.CONTROL)
    for byte in range(256):
        add(f"<0x{byte:02X}>", 0.0, Piece.BYTE)
    letters = [SPACE] + [chr(c) for c in range(33, 127)]
    for rank, text in enumerate(list(dict.fromkeys(merges)) + letters):
        add(text, -float(rank), Piece.NORMAL)
    t = proto.trainer_spec
    t.model_type = pb.TrainerSpec.BPE
    t.vocab_size = len(proto.pieces)
    t.byte_fallback, t.split_digits = True, split_digits
    t.unk_id, t.bos_id, t.eos_id, t.pad_id = UNK, BOS, EOS, -1
    n = proto.normalizer_spec
    n.name, n.precompiled_charsmap = "identity", b""
    n.add_dummy_prefix, n.remove_extra_whitespaces, n.escape_whitespaces = True, False, True
    return proto.SerializeToString()


def _chain(*words):
    """Every prefix of two letters and more, so that a word grows letter by letter."""
    return [w[:n].replace(" ", SPACE) for w in words for n in range(2, len(w) + 1)]


def whole():
    merges = _chain(" [INST]", " <Img>", " </Img>", " [reconstruct]", " loc:", " rgb:", " [/INST]")
    merges += [str(v) for v in range(10, 256)]
    return _build(merges, split_digits=False)


def digits():
    merges = [SPACE + "[", SPACE + "<", SPACE + "</", SPACE * 2, "IN", "ST", "INST", "Im", "Img",
              "re", "co", "con", "st", "ru", "ct", "stru", "struct", "construct", SPACE + "l", "oc",
              SPACE + "loc", SPACE + "r", "or", "er", "in"]
    return _build(merges, split_digits=True)


# What engine/ask/prompt.c writes and is answered, and some sentences of `lammd bench`, as they are
# to be cut: before a space, on either side of a digit, at a bar. The cuts of the first five lines
# are LLaMA-2's, and so are the sums of a game's prompt and of a mask's (docs/model.md sections 4.2
# and 8). Which word of these is cut where is a guess.
CUTS = """
[|INST|] <|Img|>
</|Img|><|Img|>
</|Img|> [|re|construct|] loc|: [12,34] rg|b|: [|/|INST|]
[31,6,108] 0 1 yes
{|<12><3><100><99>|}
[|segment|ation|] the red circle loc|: [12,34] mask|: [|/|INST|]
the blue square the ground the thing on the left all red things the thing on the right the biggest thing the smallest thing
You are playing a Car Rac|ing game|. <|Object|ive|> Drive this red car as fast as possible and avoid leaving the road|.
<|T|ips|> Control ste|ering and avoid pressing the acceler|ator and turning at the same time|.
Action Space|: [|Ste|ering|, Gas|, Bra|ke|]: [(0,20), (0,20), (0,20)].
[|Car|R|acing|] Please select a value for each action within their respective ranges|, providing three values in total|:
You are playing a Space Inv|aders game|. <|Object|ive|> Dest|roy the space inv|aders by shooting your las|er can|non at
them before they reach the Earth|. Av|oid getting hit by space inv|aders|. <|T|ips|> The inv|aders in the back rows are
worth more points|. <|Action Space|> [0: NO|OP|, 1: F|IRE|, 2: R|IGHT|, 3: LEFT|, 4: R|IGHT|F|IRE|,
5: LEFT|F|IRE|] [|Space Inv|aders|] Cho|ose an action from the Action Space|: [|/|INST|]
[|refer|] give me the location of
[|v|qa|] Based on the image|, respond to this question with a short answer|:
[|ident|ify|]
[|ca|ption|] Brief|ly describe this image|.
[|ground|ing|] please describe this image in details
[|det|ection|] no true false
"""


def _cut(word):
    """The pieces of a word of CUTS with the space in front of it; digits stand alone, and leave the
    space alone."""
    parts = re.findall(r"\d|[^\d|]+", word)
    return [SPACE, *parts] if parts[0].isdigit() else [SPACE + parts[0], *parts[1:]]


def _join(symbols, pair):
    """Neighbours that spell `pair` become one, the left ones first."""
    out = []
    for s in symbols:
        if out and out[-1] + s == pair:
            out[-1] = pair
        else:
            out.append(s)
    return out


def _learn(words):
    """Merges after which each word is cut as it is given, the first one in front.

    The most frequent pair inside the pieces comes next, unless it would also join what is to stay
    apart.
    """
    now = {w: list("".join(w)) for w in words}
    merges = []
    while any(list(w) != s for w, s in now.items()):
        found, banned = Counter(), set()
        for pieces, symbols in now.items():
            ends = set(accumulate(map(len, pieces)))
            at = 0
            for a, b in zip(symbols, symbols[1:]):
                at += len(a)
                if at in ends:
                    banned.add(a + b)
                else:
                    found[a + b] += words[pieces]
        best = min((p for p in found if p not in banned), key=lambda p: (-found[p], p))
        merges.append(best)
        now = {w: _join(s, best) for w, s in now.items()}
    return merges


def paper():
    words = Counter(tuple(_cut(w)) for w in CUTS.split())
    blob = _build(_learn(words) + [SPACE * 2], split_digits=True)
    tok = load(blob)
    for w in words:
        got = tok.encode("".join(w)[1:], out_type=str)
        assert got == list(w), f"{w} came out as {got}"
    return blob


def load(blob):
    return spm.SentencePieceProcessor(model_proto=blob)
