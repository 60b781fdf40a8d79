"""Write the two small random models that the tests live on, and the sizes of the paper's model.

    python3 tools/oracle/make_models.py tests/golden            # tiny, tiny-digits
    python3 tools/oracle/make_models.py shape models/shapes     # pae-lamm-7b: no weights
"""
import json
import math
import os
import sys

import torch

import rng
import stfile
import tokmake

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def config(vocab, vision, text, **more):
    """A whole config.json; `vision` and `text` give what differs from the tiny model."""
    c = {
        "model_type": "pae_lamm", "torch_dtype": "bfloat16",
        "vision_config": {"image_size": 32, "patch_size": 4, "hidden_size": 32,
                          "num_attention_heads": 2, "num_hidden_layers": 2,
                          "intermediate_size": 96, "layer_norm_eps": 1e-6,
                          "image_mean": MEAN, "image_std": STD},
        "connector_config": {"concat": 4, "ln_vision_eps": 1e-5},
        "text_config": {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
                        "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": vocab,
                        "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
                        "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2,
                        "tie_word_embeddings": False},
        "pixel_grid": 16, "coord_order": "yx", "inst_spaces": 1, "bos_count": 1,
    }
    c["vision_config"].update(vision)
    c["text_config"].update(text)
    c.update(more)
    return c


def shapes(c, ln_vision=True, pos_rows=None):
    """name -> (shape, deviation, mean), in file order.

    Projections keep the scale of what goes through them; query and key are larger, so that a row
    attends to few others, and the head is larger, so that answers are decided and differ from place
    to place.
    """
    v, t, out = c["vision_config"], c["text_config"], {}
    e, p, f = v["hidden_size"], v["patch_size"], v["intermediate_size"]
    rows = pos_rows or 1 + (v["image_size"] // p) ** 2

    def matrix(name, n, k, gain=1.0):
        out[name] = ((n, k), gain / math.sqrt(k), 0.0)

    def vector(name, n, mean=0.0):
        out[name] = ((n,), 0.1, mean)

    a = "visual_encoder."
    out[a + "cls_token"] = ((1, 1, e), 0.5, 0.0)
    out[a + "pos_embed"] = ((1, rows, e), 0.5, 0.0)
    out[a + "patch_embed.proj.weight"] = ((e, 3, p, p), 1 / math.sqrt(3 * p * p), 0.0)
    vector(a + "patch_embed.proj.bias", e)
    for i in range(v["num_hidden_layers"]):
        b = f"{a}blocks.{i}."
        for norm in ("norm1", "norm2"):
            vector(b + norm + ".weight", e, 1.0)
            vector(b + norm + ".bias", e)
        vector(b + "attn.q_bias", e)
        vector(b + "attn.v_bias", e)
        matrix(b + "attn.qkv.weight", 3 * e, e, 1.5)
        matrix(b + "attn.proj.weight", e, e)
        vector(b + "attn.proj.bias", e)
        matrix(b + "mlp.fc1.weight", f, e)
        vector(b + "mlp.fc1.bias", f)
        matrix(b + "mlp.fc2.weight", e, f)
        vector(b + "mlp.fc2.bias", e)
    if ln_vision:
        vector("ln_vision.weight", e, 1.0)
        vector("ln_vision.bias", e)
    d, g = t["hidden_size"], t["intermediate_size"]
    matrix("llama_proj.weight", d, c["connector_config"]["concat"] * e)
    vector("llama_proj.bias", d)
    out["model.embed_tokens.weight"] = ((t["vocab_size"], d), 1.0, 0.0)
    for i in range(t["num_hidden_layers"]):
        b = f"model.layers.{i}."
        vector(b + "input_layernorm.weight", d, 1.0)
        vector(b + "post_attention_layernorm.weight", d, 1.0)
        matrix(b + "self_attn.q_proj.weight", d, d, 2.2)
        matrix(b + "self_attn.k_proj.weight", d, d, 2.2)
        matrix(b + "self_attn.v_proj.weight", d, d)
        matrix(b + "self_attn.o_proj.weight", d, d, 4.0)
        matrix(b + "mlp.gate_proj.weight", g, d)
        matrix(b + "mlp.up_proj.weight", g, d)
        matrix(b + "mlp.down_proj.weight", d, g, 2.0)
    vector("model.norm.weight", d, 1.0)
    matrix("lm_head.weight", t["vocab_size"], d, 6.0)
    return out


# Models of which only the golden vectors are stored: tests/golden/maker.h makes the same weights.
# Odd sizes in f32, to tell every dimension from every other one; true widths with one layer each
# (EVA-CLIP ViT-g and LLaMA-2-7B), few tokens.
UNSTORED = {
    "odd": (config(50, {"image_size": 30, "patch_size": 5, "hidden_size": 24,
                        "num_attention_heads": 3, "intermediate_size": 68},
                   {"hidden_size": 40, "intermediate_size": 52, "num_attention_heads": 5,
                    "num_key_value_heads": 5, "num_hidden_layers": 3, "rope_theta": 500.0,
                    "rms_norm_eps": 1e-6}, connector_config={"concat": 3, "ln_vision_eps": 1e-5}),
            torch.float32),
    "wide": (config(64, {"image_size": 56, "patch_size": 14, "hidden_size": 1408,
                         "num_attention_heads": 16, "num_hidden_layers": 1,
                         "intermediate_size": 6144},
                    {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 1,
                     "num_attention_heads": 32, "num_key_value_heads": 32}),
             torch.bfloat16),
}


# The paper's model (docs/model.md sections 1 to 3): EVA-CLIP ViT-g at 448 and LLaMA-2-7B. The
# tokenizer spells our prompts in as many tokens as LLaMA-2's, which may not be shipped; its pieces
# are few, the vocabulary is the true one.
PAE_LAMM_7B = config(32000, {"image_size": 448, "patch_size": 14, "hidden_size": 1408,
                             "num_attention_heads": 16, "num_hidden_layers": 39, "intermediate_size": 6144},
                     {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
                      "num_attention_heads": 32, "num_key_value_heads": 32,
                      "max_position_embeddings": 4096}, pixel_grid=64)


def make(table, dtype, salt=""):
    """The weights of a table of shapes: matrices in `dtype`, vectors and positions in float32.

    The salt of a stored model was chosen among a dozen so that its answers differ from place to
    place and none of them hangs by a hair (make_golden prints the closest calls).
    """
    out = {}
    for name, (shape, std, mean) in table.items():
        w = torch.from_numpy(rng.weights(name, shape, std, mean, salt))
        small = len(shape) == 1 or name.endswith(("cls_token", "pos_embed"))
        out[name] = w if small else w.to(dtype)
    return out


def write_shape(folder, c, tok):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(c, f, indent=2)
        f.write("\n")
    with open(os.path.join(folder, "tokenizer.model"), "wb") as f:
        f.write(tok)


def write(folder, c, tok, dtype, salt, **how):
    write_shape(folder, c, tok)
    stfile.write(os.path.join(folder, "model.safetensors"), make(shapes(c, **how), dtype, salt))


def main(root):
    whole, digits = tokmake.whole(), tokmake.digits()
    size = tokmake.load(whole).get_piece_size()
    write(os.path.join(root, "tiny"), config(size, {}, {}), whole, torch.bfloat16, "h")
    # LLaMA-2's manner, and every choice that the first model makes the other way: ln_vision absent,
    # positions of another grid, f16, columns first, two spaces, two BOS.
    size = tokmake.load(digits).get_piece_size()
    c = config(size, {}, {}, torch_dtype="float16", coord_order="xy",
               inst_spaces=2, bos_count=2)
    write(os.path.join(root, "tiny-digits"), c, digits, torch.float16, "c", ln_vision=False, pos_rows=17)


if __name__ == "__main__":
    if sys.argv[1] == "shape":
        write_shape(os.path.join(sys.argv[2], "pae-lamm-7b"), PAE_LAMM_7B, tokmake.paper())
    else:
        main(sys.argv[1])
