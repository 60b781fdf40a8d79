"""Small tokenizer.model files in LLaMA's manner: BPE by score, byte fallback, dummy prefix.

`whole` spells every number 0..255 and every fixed part of the prompts as one piece; `digits` spells
numbers digit by digit and words in the parts that LLaMA-2's own tokenizer uses.
"""
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


def load(blob):
    return spm.SentencePieceProcessor(model_proto=blob)
