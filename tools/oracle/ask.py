"""Pixel questions, asked one full prompt at a time: the plain loop that the engine has to equal."""
import os

import sentencepiece as spm
import torch

import lamm

IMAGE = -1
LEAST = 1 / 512  # a branch of the digit tree below this probability is left out (docs/design.md)


class Asker:
    """A model, its tokenizer and one picture."""

    def __init__(self, model, tok, rgb):
        self.m, self.tok, self.c, self.rgb = model, tok, model.c, rgb
        self.feats = model.see(rgb)
        self.fields = self._fields()
        self.least_gap = {"mode": 1.0, "median": 1.0, "mean": 1.0}  # how close a call was

    @classmethod
    def load(cls, folder, picture):
        """A model folder; picture(side) makes the picture of the size that it wants."""
        model = lamm.Model.load(folder)
        tok = spm.SentencePieceProcessor(model_file=os.path.join(folder, "tokenizer.model"))
        return cls(model, tok, picture(model.c["vision_config"]["image_size"]))

    # ---- prompts (docs/model.md section 4.1): each piece between pictures is tokenized alone ----

    def prompt(self, x, y):
        c, bos = self.c, self.c["text_config"]["bos_token_id"]
        a, b = (y, x) if c.get("coord_order", "yx") == "yx" else (x, y)
        space = " " * c.get("inst_spaces", 1)
        return ([bos] * c.get("bos_count", 1) + self.tok.encode("[INST] <Img>") + [IMAGE]
                + self.tok.encode(f"</Img> [reconstruct] loc: [{a},{b}] rgb:{space}[/INST]"))

    # ---- legal answers: "[r,g,b]" as tokens, a trie for each number and what ends it ----

    def cut(self, text, begin, end):
        """The tokens of text[begin:end] inside of the whole text; none may reach over its ends."""
        ids, at = [], -1  # the dummy space
        for i in self.tok.encode(text):
            next_at = at + len(self.tok.id_to_piece(i))
            if max(at, 0) >= begin and next_at <= end:
                ids.append(i)
            else:
                assert next_at <= begin or at >= end, f"{text}: a piece reaches over an end"
            at = next_at
        return ids

    def _fields(self):
        self.lead = self.cut("[0,0,0]", 0, 1)
        self.spell = []
        for before, after in (("[", ",0,0]"), ("[0,", ",0]"), ("[0,0,", "]")):
            ends = [len(before) + len(str(v)) + 1 for v in range(256)]
            self.spell.append([self.cut(f"{before}{v}{after}", len(before), ends[v])
                               for v in range(256)])
        for v in range(256):
            r, g, b = v, 255 - v, (7 * v + 3) % 256
            parts = self.spell[0][r] + self.spell[1][g] + self.spell[2][b]
            assert self.tok.encode(f"[{r},{g},{b}]") == self.lead + parts, "not spelled one by one"
        fields = []
        for spelt in self.spell:
            trie = {}
            for v in range(256):
                node = trie
                for t in spelt[v]:
                    node = node.setdefault(t, {})
                node["value"] = v
            fields.append(trie)
        return fields

    def logits(self, ids):
        """Logits behind the last of `ids` for several prompts of one length."""
        x = torch.stack([self.m.embed(self.feats, i) for i in ids])
        return self.m.decode(x)[:, -1]

    def step(self, ids, node):
        """[(probability, token)] over the children of `node`, by token id."""
        tokens = sorted(node)
        if len(tokens) == 1:
            return [(1.0, tokens[0])]
        p = torch.softmax(self.logits([ids])[0, tokens], dim=0)
        return list(zip(p.tolist(), tokens))

    def note(self, kind, gap):
        self.least_gap[kind] = min(self.least_gap[kind], gap)

    def mode(self, x, y):
        """The greedy answer: the likeliest legal token each time, the lowest id on a tie."""
        ids, rgb, probs = self.prompt(x, y) + self.lead, [], []
        for node in self.fields:
            p_all = 1.0
            while "value" not in node:
                options = self.step(ids, node)
                p, token = max(options, key=lambda o: (o[0], -o[1]))
                if len(options) > 1:
                    first, second = sorted((o[0] for o in options), reverse=True)[:2]
                    self.note("mode", first - second)
                p_all *= p
                ids, node = ids + [token], node[token]
            rgb.append(node["value"])
            probs.append(p_all)
        return rgb, probs

    def distribution(self, ids, field):
        """256 probabilities of a channel, scaled to one.

        A node less likely than LEAST is not asked about its children: their values count as 0. One
        token per number leaves nothing out.
        """
        p = torch.zeros(256, dtype=torch.float64)
        layer = [(1.0, ids, self.fields[field])]
        while layer:
            deeper = []
            asking = [n for n in layer if len(n[2]) > 1 and n[0] >= LEAST]
            for size in {len(n[1]) for n in asking}:
                same = [n for n in asking if len(n[1]) == size]
                logits = self.logits([n[1] for n in same])
                for (p0, at, node), row in zip(same, logits):
                    tokens = sorted(node)
                    q = torch.softmax(row[tokens], dim=0).tolist()
                    deeper += [(p0 * q1, at + [t], node[t]) for q1, t in zip(q, tokens)]
            deeper += [(p0, at + [t], node[t]) for p0, at, node in layer if len(node) == 1
                       for t in node]
            layer = []
            for p0, at, node in deeper:
                if "value" in node:
                    p[node["value"]] = p0
                else:
                    layer.append((p0, at, node))
        return p / p.sum()

    def estimate(self, x, y, kind):
        """'median' or 'mean' of each channel given those chosen before -> rgb, 3 distributions."""
        ids, rgb, dists = self.prompt(x, y) + self.lead, [], []
        for field in range(3):
            p = self.distribution(ids, field)
            if kind == "median":
                below = p.cumsum(0)
                v = int((below < 0.5).sum())
                self.note("median", (below - 0.5).abs().min().item())
            else:
                mean = float((p * torch.arange(256)).sum())
                v = int(mean + 0.5)
                self.note("mean", abs(mean + 0.5 - round(mean + 0.5)))
            rgb.append(v)
            dists.append(p)
            ids = ids + self.spell[field][v]
        return rgb, torch.stack(dists)
