"""What a served model is asked, and what the original implementations answer: pixels through the
raw prompt that POST /v1/pixels makes, and choices of POST /v1/vqa by their log probabilities.

    original = Original(reference.llama(..), reference.tower(..), reference.connector(..))
    Asker(original).answers(POINTS)      {"pixels": [..], "choices": {..}}

The prompts are spelled here once more, from docs/model.md section 4, with SentencePiece itself.
Needs what reference.py needs, and sentencepiece.
"""
import copy
import os

import numpy as np
import sentencepiece
import torch
from PIL import Image

import ask
import originals
import reference

POINTS = [[0, 0], [5, 40], [63, 12]]
QUESTION = "is there a red thing?"
CHOICES = ["yes", "no", "a red disc", "7"]
SHORT = "[vqa] Based on the image, respond to this question with a short answer: "


def photo():
    """No square, and not of the tower's size: (240, 480, 3) u8."""
    return originals.picture(480)[120:360]


class Original:
    """What ask.Asker asks of a model: the packages' modules, with their own cache."""

    def __init__(self, llama, tower, connector):
        self.llama, self.tower, self.connector = llama, tower, connector
        self.c = {"text_config": {"bos_token_id": 1}}
        self.kept = {}  # rows -> the cache behind them

    def see(self, rgb):
        """As MiniGPT-v2's processor: squashed by Pillow, then the tower."""
        side = (originals.SIDE, originals.SIDE)
        square = np.array(Image.fromarray(rgb).resize(side, Image.BICUBIC))
        return reference.see(self.tower, self.connector, square, lambda name, tensor: None)

    @torch.no_grad()
    def rows(self, feats, ids):
        """Logits behind each of the ids that no kept cache holds; keeps what is behind the last."""
        ids = tuple(ids)
        known = max((k for k in self.kept if k == ids[:len(k)] and len(k) < len(ids)), key=len, default=())
        body = self.llama.get_base_model() if hasattr(self.llama, "get_base_model") else self.llama
        table = body.model.embed_tokens
        x = torch.cat([feats if i < 0 else table(torch.tensor([i])) for i in ids[len(known):]])
        past = copy.deepcopy(self.kept[known]) if known else None
        out = self.llama(inputs_embeds=x[None], past_key_values=past, use_cache=True)
        self.kept[ids] = out.past_key_values
        return out.logits[0]


class Asker(ask.Asker):
    """The plain loop of ask.py around it."""

    def __init__(self, original):
        tok = sentencepiece.SentencePieceProcessor(model_file=originals.TOKENIZER)
        super().__init__(original, tok, photo())
        self.head = (1, *tok.encode("[INST] <Img>"), ask.IMAGE)  # what all prompts begin with
        original.rows(self.feats, self.head)

    def forget(self):
        self.m.kept = {self.head: self.m.kept[self.head]}

    def logits(self, ids):
        return torch.stack([self.m.rows(self.feats, i)[-1] for i in ids])

    def pixel(self, x, y):
        """The greedy answer, and of each channel the value's probability and the entropy, bits."""
        self.forget()
        rgb, _ = self.mode(x, y)
        ids, probs, bits = self.prompt(x, y) + self.lead, [], []
        for field, v in enumerate(rgb):
            p = self.distribution(ids, field)
            probs.append(float(p[v]))
            bits.append(float(-(p[p > 0] * p[p > 0].log2()).sum()))
            ids = ids + self.spell[field][v]
        return {"rgb": rgb, "prob": probs, "entropy": bits}

    def likelihood(self, question, choice):
        """Natural log of the whole choice and the end behind it."""
        prompt = [*self.head, *self.tok.encode(f"</Img> {SHORT}{question} [/INST]")]
        text = self.tok.encode(choice) + [2]
        self.forget()
        rows = self.m.rows(self.feats, prompt + text)[-len(text) - 1:-1].log_softmax(-1)
        return float(sum(row[i] for row, i in zip(rows, text)))

    def answers(self, points):
        return {"pixels": [self.pixel(x, y) for x, y in points],
                "choices": {c: self.likelihood(QUESTION, c) for c in CHOICES}}
