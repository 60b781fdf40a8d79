#!/usr/bin/env python3
"""make_corpus.py - the hand-made seeds of fuzz_png, _jpeg, _webp, _head, _json, _chat, _boxes,
_gate, _multipart, _tokenizer, _prompt, _adapter, _tar, _lines, _pickle, _pth, _join, _import and
_features, made by code.

Run in the repository's root: /usr/bin/python3 tests/fuzz/make_corpus.py
"""
import base64
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib

from PIL import Image

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def put(folder, name, data):
    os.makedirs(os.path.join(HERE, folder), exist_ok=True)
    with open(os.path.join(HERE, folder, name), "wb") as f:
        f.write(data)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth, colour, interlace=0, w=3, h=2, extra=b""):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = (w * channels * depth + 7) // 8
    raw = b"".join(bytes([y % 5]) + bytes((7 * i + y) % 256 for i in range(row)) for y in range(h))
    if interlace:
        raw += raw * 3
    palette = chunk(b"PLTE", bytes(range(0, 3 << depth))) if colour == 3 else b""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlace))
            + palette + extra + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def varint(v):
    return bytes([v]) if v < 128 else bytes([v & 127 | 128]) + varint(v >> 7)


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece(text, score, kind):
    return field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind]))


def tokenizer(pieces, kind=2, byte_fallback=0, collapse=0):
    special = [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3)]
    byte_pieces = [(f"<0x{b:02X}>", 0, 6) for b in range(256 * byte_fallback)]
    return (b"".join(piece(*p) for p in special + byte_pieces + pieces)
            + field(2, b"\x18" + bytes([kind]) + b"\x98\x02" + bytes([byte_fallback]))
            + field(3, b"\x18\x01\x20" + bytes([collapse]) + b"\x28\x01"))


def prompts():
    texts = ["the brown dog on the left", "", " ", "a\x01b", "[/INST]", "x</s>", "<Img>", "[vqa] what?",
             "Gr\u00fc\u00dfe \U0001f642", "q\0a\0q2\0a2\0q3", "line\nbreak\ttab", "a" * 1200, "<s>\0</s>\0[INST]"]
    for i, text in enumerate(texts):
        for task in range(4):
            put("prompt", f"{i:02d}-{task}", bytes([task, i % 4]) + text.encode())
    put("prompt", "not-utf8", b"\0\1a\xff\xc0\x80\xed\xa0\x80")


def tokenizers():
    singles = [(c, -9, 1) for c in "\u25810123456789[],"]
    whole = [(str(v), -1, 1) for v in range(10, 256)]
    put("tokenizer", "digits", tokenizer(singles))
    put("tokenizer", "whole", tokenizer(whole + singles))
    put("tokenizer", "bytes", tokenizer(singles, byte_fallback=1))
    put("tokenizer", "user", tokenizer([("ab", 0, 4), ("abab", 0, 4), ("\u2581[", -1, 5)] + singles))
    put("tokenizer", "crossing", tokenizer([("1,", -1, 1), ("1,2", 0, 1)] + singles))
    put("tokenizer", "twice", tokenizer(singles + singles[:1]))
    put("tokenizer", "unigram", tokenizer(singles, kind=1))
    put("tokenizer", "collapsing", tokenizer(singles, collapse=1))
    put("tokenizer", "cut", tokenizer(singles)[:-7])
    put("tokenizer", "infinite", tokenizer([("01", float("inf"), 1), ("12", float("-inf"), 1)] + singles))


def adapters():
    head = '{"peft_type":"LORA","r":2,"lora_alpha":4'
    for name, text in {
        "list": head + ',"target_modules":["q_proj","v_proj"],"lora_dropout":0.05,"bias":"none"}',
        "all": head + ',"use_rslora":true,"base_model_name_or_path":"a/b","target_modules":["q_proj","k_proj",'
               '"v_proj","o_proj","gate_proj","up_proj","down_proj"]}',
        "pattern": head + ',"target_modules":".*q_proj","layers_to_transform":[1]}',
        "real": '{"peft_type":"LORA","r":64,"lora_alpha":1.25e1,"target_modules":["o_proj"]}',
        "dora": head + ',"target_modules":["q_proj"],"use_dora":true}', "rank": '{"peft_type":"LORA","r":99999}',
        "unknown": head + ',"target_modules":["q_proj"],"next\\nyear":[1]}', "twice": head + ',"r":3}',
        "pissa": head + ',"target_modules":["q_proj"],"init_lora_weights":"pissa_niter_4"}',
        "card": '{"format":1,"program":"0.1.0","base":"%s","vision":"%s","text":"%s","data":null,"recipe":"%s",'
                '"seed":"18446744073709551615","steps":"100"}' % tuple(c * 64 for c in "0af9"),
        "card-short": '{"format":1,"program":"0.1.0","base":"abc"}', "card-2": '{"format":2}',
    }.items():
        put("adapter", name, text.encode())


def tar(names, kind=tarfile.USTAR_FORMAT, types=None):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as t:
        for i, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.type = (types or {}).get(name, tarfile.REGTYPE)
            info.linkname = "a" if info.issym() else ""
            body = b"{}\n" * i if info.isreg() else b""
            info.size = len(body)
            t.addfile(info, io.BytesIO(body))
    return out.getvalue()[:len(names) * 1536 + 1024]


def tars():
    long_name = "p" * 90 + "/" + "q" * 90
    put("tar", "plain", tar(["a.jsonl", "b/c.png"]))
    put("tar", "prefix", tar([long_name]))
    put("tar", "gnu", tar(["a", "b"], tarfile.GNU_FORMAT))
    put("tar", "gnu-long", tar([long_name * 2], tarfile.GNU_FORMAT))
    put("tar", "pax", tar(["\u00e4" * 60], tarfile.PAX_FORMAT))
    put("tar", "folder", tar(["d", "d/a"], types={"d": tarfile.DIRTYPE}))
    put("tar", "link", tar(["a", "l"], types={"l": tarfile.SYMTYPE}))
    put("tar", "up", tar(["../a"]))
    put("tar", "cut", tar(["a", "b"])[:-1000])


def training_lines():
    small = "data:image/png;base64," + base64.b64encode(png(8, 2)).decode()
    box, image = [1, 2, 3.5, 4], "a/b.jpg"
    phrases = [{"phrase": "a dog", "boxes": [box, box]}, {"phrase": "cat", "boxes": [box]}]
    user = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": small}},
                                        {"type": "text", "text": "what?"}]}
    say = {"role": "assistant", "content": "a dog"}
    lines = {
        "pixels": {"task": "pixels", "images": [image, small]},
        "mask": {"task": ["mask", "refer", "identify"], "image": image, "sentence": "x", "box": box,
                 "mask": {"file": "m.png", "ids": [1, 70000]}, "orient": "stored"},
        "polygon": {"task": "mask", "image": image, "sentence": "x", "mask": [[0, 0, 4, 0, 4, 4.5]]},
        "runs": {"task": "mask", "image": image, "sentence": "x", "mask": {"size": [3, 4], "counts": "42102"}},
        "caption": {"task": "caption", "image": image, "caption": "a dog"},
        "grounding": {"task": "grounding", "image": image, "caption": "a dog, a cat", "phrases": phrases},
        "detection": {"task": "detection", "image": image, "phrases": phrases},
        "vqa": {"task": "vqa", "image": image, "question": "q", "answer": ["yes", "no"]},
        "act": {"task": "act", "game": "car_racing", "images": ["0", "1"], "action": [8, 10, 20]},
        "shoot": {"task": "act", "game": "space_invaders", "images": list("0123"), "action": 5},
        "chat": {"messages": [{"role": "system", "content": "be\nbrief"}, user, say, dict(user, content="q"), say]},
        "url": {"task": "pixels", "image": "https://x/a.jpg"}, "tag": {"task": "caption", "caption": "[INST]"},
    }
    for name, line in lines.items():
        put("lines", name, json.dumps(line).encode())
    put("lines", "several", b"\n".join(json.dumps(v).encode() for v in list(lines.values())[2:6]))
    put("lines", "broken", b'{"task":"pixels","task":1}\n{\n[]\n{"a":"\xff"}')


def heads():
    for orientation in (1, 3, 6, 8):
        out = io.BytesIO()
        picture = Image.new("RGB", (16, 8))
        exif = picture.getexif()
        exif[0x112] = orientation
        picture.save(out, "JPEG", quality=30, exif=exif)
        put("head", f"exif-{orientation}", out.getvalue())
    put("head", "png", png(8, 2))
    put("head", "heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    put("head", "cgbi", png(8, 2)[:8] + b"\0\0\0\4CgBI" + bytes(20))
    put("head", "png-exif", png(8, 2, extra=chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x05\0\0\0")))
    put("head", "tiff", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x05\0\0\0")


def pickles():
    """Opcodes by hand; what torch wrote, whole and (pickles alone) without its zip."""
    for name, code in {
        "shared": b"]q\0h\0a", "bomb": b"]q\0(h\0h\0eq\1" * 3, "memo": b"Nr\xff\xff\x0f\0",
        "deep": b"(" * 50 + b"N" + b"t" * 50, "system": b"cos\nsystem\nX\4\0\0\0exit\x85R",
        "build": b"ccollections\nOrderedDict\n)R(X\1\0\0\0aK\1u}b", "set": b"\x8f(K\1K\2\x90",
        "storage": b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" b"0X\3\0\0\0cpuK\4tQ",
        "numbers": b"(K\1M\1\2J\1\2\3\4\x8a\3\1\2\xffG?\xf0\0\0\0\0\0\0\x88\x89t",
    }.items():
        put("pickle", name, b"\x80\2" + code + b".")
    put("pickle", "four", b"\x80\4\x95\x10\0\0\0\0\0\0\0\x8c\2os\x8c\6system\x93\x94)R.")
    golden = os.path.join(HERE, "../../golden/import")
    for name in sorted(os.listdir(golden)):
        with open(os.path.join(golden, name), "rb") as f:
            put("pth", name, f.read())
        if zipfile.is_zipfile(os.path.join(golden, name)):
            with zipfile.ZipFile(os.path.join(golden, name)) as z:
                inner = next(n for n in z.namelist() if n.endswith("data.pkl"))
                put("pickle", name, z.read(inner))


def joins():
    """weights.json, and names of tensors."""
    file = {"path": "/a/b.safetensors", "bytes": 100}
    tensor = {"name": "model.norm.weight", "dtype": "F16", "shape": [4, 2], "file": 0, "at": 84}
    good = {"format": 1, "sha256": "0" * 64, "files": [file, {"path": "changed.safetensors", "bytes": 0}],
            "tensors": [tensor, {**tensor, "name": "b", "dtype": "F32", "shape": [], "at": 0}]}
    for name, change in {
        "good": {}, "none": {"tensors": []}, "twice": {"tensors": [tensor, tensor]}, "behind": {"tensors": [{**tensor, "at": 85}]},
        "huge": {"tensors": [{**tensor, "shape": [1 << 31, 1 << 31, 1 << 31, 2]}]}, "two": {"format": 2},
        "minus": {"tensors": [{**tensor, "at": -1}]}, "file": {"tensors": [{**tensor, "file": 2}]},
        "type": {"tensors": [{**tensor, "dtype": "I64"}]}, "path": {"files": [{"bytes": 1}]},
    }.items():
        put("join", name, json.dumps({**good, **change}).encode())
    for i, name in enumerate(["module.visual.blocks.3.norm1.bias", "llama_model.base_model.model.lm_head.0.weight",
                              "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight",
                              "model.layers.0.self_attn.q_proj.base_layer.weight", "blocks.0.attn.qkv.weight"]):
        put("join", f"name-{i}", name.encode())


def imports():
    """config.json and the index of a folder of LLaMA-2."""
    config = {"model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "num_attention_heads": 4,
              "intermediate_size": 160, "num_hidden_layers": 2, "vocab_size": 300, "rms_norm_eps": 1e-5,
              "rope_scaling": None, "head_dim": 16, "attention_bias": False, "torch_dtype": "float16"}
    for name, change in {"llama": {}, "other": {"model_type": "mistral"}, "act": {"hidden_act": "gelu"},
                         "head": {"head_dim": 1 << 62, "num_attention_heads": 1 << 62}, "bias": {"mlp_bias": True},
                         "types": {"hidden_size": "x", "model_type": 7}}.items():
        put("import", "config-" + name, b"\0" + json.dumps({**config, **change}).encode())
    for name, where in {"one": {"a": "m.safetensors"}, "none": {}, "up": {"a": "../m.safetensors"}, "itself": {"a": "."},
                        "missing": {"a": "n.safetensors"}, "more": {"b": "m.safetensors"}, "number": {"a": 1},
                        "config": {"a": "config.json"}}.items():
        put("import", "index-" + name, b"\1" + json.dumps({"metadata": {"total_size": 1}, "weight_map": where}).encode())
    put("import", "tokenizer", b"\2" + tokenizer([(c, -9, 1) for c in "\u25810123456789[],"]))


def features():
    def file(maps, channels=48, scale=0.5):
        entries = b"".join(struct.pack("<32sHH", bytes([i]) * 32, w, h) for i, (w, h) in enumerate(maps))
        numbers = bytes(k % 251 for w, h in maps for k in range(w * h * 48))
        head = struct.pack("<8sII", b"lammdfe1", len(maps), channels)
        return head + struct.pack("<48f", *[scale] * 48) + entries + numbers

    put("features", "none", file([]))
    put("features", "three", file([(1, 1), (2, 3), (3, 1)]))
    put("features", "flat", file([(0, 4)]))
    put("features", "narrow", file([(1, 1)], channels=47))
    put("features", "infinite", file([(1, 1)], scale=float("inf")))
    put("features", "cut", file([(2, 2)])[:-1])
    put("features", "long", file([(2, 2)]) + b"x")


def main():
    imports()
    joins()
    pickles()
    prompts()
    tokenizers()
    adapters()
    tars()
    features()
    training_lines()
    heads()
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            put("png", f"c{colour}d{depth}", png(depth, colour))
    put("png", "interlaced", png(8, 2, 1))
    put("png", "trns", png(4, 3, extra=chunk(b"tRNS", b"\0\x80\xff")))
    put("png", "text", png(8, 0, extra=chunk(b"tEXt", b"a\0b") + chunk(b"gAMA", b"\0\0\xb1\x8f")))
    put("png", "huge", png(8, 2)[:16] + struct.pack(">II", 20000, 20000) + png(8, 2)[24:])
    put("png", "cut", png(8, 2)[:-20])

    picture = Image.frombytes("RGB", (16, 16), bytes((i * 7) % 256 for i in range(768)))
    for name, mode, options in (("baseline", "RGB", {}), ("progressive", "RGB", {"progressive": True}),
                                ("grey", "L", {}), ("cmyk", "CMYK", {}),
                                ("restart", "RGB", {"restart_marker_blocks": 1})):
        out = io.BytesIO()
        picture.convert(mode).save(out, "JPEG", quality=30, **options)
        put("jpeg", name, out.getvalue())
        if name == "baseline":
            put("jpeg", "cut", out.getvalue()[:-40])

    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options in {"lossy": {}, "lossless": {"lossless": True}, "exif": {"exif": exif},
                          "animated": {"save_all": True, "append_images": [Image.new("RGB", (16, 8))]}}.items():
        out = io.BytesIO()
        Image.linear_gradient("L").resize((16, 8)).convert("RGB").save(out, "WEBP", **options)
        put("webp", name, out.getvalue())
        put("head", f"webp-{name}", out.getvalue())
    out = io.BytesIO()
    Image.linear_gradient("L").resize((16, 8)).convert("LA").convert("RGBA").save(out, "WEBP")
    put("webp", "transparent", out.getvalue())
    put("webp", "cut", out.getvalue()[:-20])

    small = base64.b64encode(png(8, 2)).decode()
    for name, text in {
        "full": '{"image":"data:image/png;base64,%s","width":4,"region":[0,0,8,8],"estimate":"median",'
                '"compare":true,"points":[[0,0],[63,63]]}' % small,
        "id": '{"image":{"id":"%s"},"points":[[1,2]]}' % ("0123456789abcdef" * 4),
        "url": '{"image":"http://127.0.0.1/"}', "bare": '{"image":"%s"}' % small,
        "string": '{"image":"Zm9v","width":"64"}', "real": '{"image":"Zm9v","width":6.4e1}',
        "twice": '{"width":1,"width":2}', "deep": "[" * 40, "unknown": '{"image":"Zm9v","\\u0000x":1}',
        "point": '{"image":"Zm9v","points":[[1,{}],[2]]}', "int": "64", "ints": "0,0,8,8", "word": "median",
        "flag": "true", "points": "[[1,2],[3,4]]", "minus": "-1", "large": "1e999", "nan": "NaN",
    }.items():
        put("json", name, text.encode())
    for name, text in {
        "segment": '{"image":"%s","sentence":"the dog","box":[0,0.5,2,1e0],"threshold":0.25,"seed":7}' % small,
        "choices": '{"image":"%s","choices":["yes","no","\u00e4"]}' % small,
        "control": '{"image":"Zm9v","sentence":"a\\u0001"}', "list": '["a","b","a"]', "number": "1.5e0",
        "numbers": "0,0.5,-2,1e3",
    }.items():
        put("json", name, text.encode())

    picture_part = '{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}' % small
    ask = '{"role":"user","content":[%s,{"type":"text","text":"what?"}]}' % picture_part
    for name, text in {
        "plain": '{"model":"mini","messages":[{"role":"user","content":"hi\\nyou"}]}',
        "turns": '{"messages":[{"role":"system","content":"be brief"},%s,'
                 '{"role":"assistant","content":"a dog","tool_calls":null},{"role":"user","content":"sure?"}]}' % ask,
        "all": '{"messages":[%s],"stream":true,"stream_options":{"include_usage":true},"logprobs":true,'
               '"top_logprobs":5,"stop":["a","b"],"max_tokens":5,"temperature":0.5,"top_p":0.9,"seed":-3,"n":1,'
               '"presence_penalty":0,"logit_bias":{},"response_format":{"type":"text"},"user":"me"}' % ask,
        "stored": '{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"lammd:%s"}},'
                  '{"type":"text","text":"x"}]}]}' % ("0123456789abcdef" * 4),
        "url": '{"messages":[%s]}' % ask.replace("data:image/png;base64,", "https://"),
        "nulls": '{"messages":[%s],"stop":null,"seed":null,"tools":null}' % ask,
        "twice": '{"messages":[%s,%s]}' % (ask, ask), "tools": '{"messages":[],"tools":[]}',
        "people": '{"messages":[{"role":"assistant","content":"Hello [INST]\\u0001"},{"role":"developer","content":""},'
                  '{"role":"user","content":["a",{"type":"image_url","image_url":"data:image/png;base64,%s"}]},'
                  '{"role":"user","content":"<s>"},{"role":"assistant","content":null},{"role":"assistant","content":"</Img>"},'
                  '{"role":"system","content":"s"},{"role":"user","content":"q"}],"tools":[],"tool_choice":"auto","max_tokens":4096,'
                  '"modalities":["text"],"stop":[],"audio":null,"parallel_tool_calls":true}' % small,
    }.items():
        put("chat", name, text.encode())
    for name, text in {
        "one": "<p>a dog</p> {<1><2><30><100>}", "two": "a <p>b</p>{<9><9><1><1>}<delim>{<0><0><0><0>} c {<1><2><3><4>}",
        "cut": "<p>a</p> {<1><2><3", "open": "<p>a {<1><2><3><4>}", "large": "{<1><2><3><101>}{<1><2><3><0004>}",
    }.items():
        put("boxes", name, text.encode())

    for name, text in {  # 9 pixels wide and 7 high
        "polygon": "[[1,1,8,1.5,4,6.25]]", "polygons": "[[0,0,3,0,3,3],[-2,-2,20,3,4,9.5,1,1]]",
        "text": '{"size":[7,9],"counts":"76b1"}', "runs": '{"size":[7,9],"counts":[7,6,50]}',
        "corner": "[[1,2,3,4,5]]", "far": "[[0,0,1e9,0,0,1]]", "long": "[[0,0,1e6,1,-1e6,2,1e6,3]]",
        "size": '{"size":[9,7],"counts":"0"}', "minus": '{"size":[7,9],"counts":[-1,64]}', "none": "[]",
    }.items():
        put("coco", name, bytes([8, 6]) + text.encode())

    host = "Host:127.0.0.1:8080\n"
    for name, text in {
        "get": "GET /ui/app.js?a=1&b=%20+c HTTP/1.1\n" + host,
        "post": "POST /v1/reconstruct?width=8 HTTP/1.1\n" + host + "Content-Length:12\nOrigin:http://127.0.0.1:8080\n",
        "chunked": "POST / HTTP/1.1\nHost:[::1]:80\nTransfer-Encoding:chunked\n",
        "both": "POST / HTTP/1.1\n" + host + "Content-Length:1\nTransfer-Encoding:chunked\n",
        "dots": "GET /a/../%2e%2e//?%zz=%0 HTTP/1.1\n" + host, "name": "GET / HTTP/1.1\nHost:lamm.example\nX :1\n",
        "many": "GET / HTTP/1.0\n" + "X:1\n" * 70, "fields": "GET /?" + "a=%41&" * 40 + " HTTP/1.1\n" + host,
    }.items():
        put("gate", name, text.encode())

    part = b'--bb\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    for name, body in {
        "two": part % (b"image", b'; filename="a.png"\r\nContent-Type: image/png', png(8, 2))
        + part % (b"width", b"", b"64") + b"--bb--\r\n",
        "empty": part % (b"image", b"", b"") + part % (b"image", b"", b"\r\n--b") + b"--bb--\r\n",
        "coded": part % (b"a", b"\r\nContent-Transfer-Encoding: base64", b"MQ==") + b"--bb--\r\n",
        "cut": part % (b"a", b"", b"12345"), "many": part % (b"a", b"", b"1") * 40 + b"--bb--\r\n",
        "nested": b'--bb\r\nContent-Type: multipart/mixed; boundary=cc\r\n\r\n--cc\r\n\r\nx\r\n--cc--\r\n--bb--\r\n',
        "nameless": b"--bb\r\n\r\nx\r\n--bb--\r\n", "folded": part % (b"a\r\n b", b"", b"1") + b"--bb--",
        "net": b'multipart/form-data; boundary="0b-7a"; charset=utf-8\n--0b-7a\r\nContent-Type: image/png\r\n'
               b"Content-Disposition: form-data; name=image; filename=a.png; filename*=utf-8''%C3%A4.png\r\n\r\n1\r\n--0b-7a--\r\n",
        "linefeeds": b'--bb \nContent-Disposition:form-data;name="a;\\"b"\nX: 1\n\t2\n\n1\r\n--b\n\n--bb\t--\n\n--bb--\nmore',
    }.items():
        put("multipart", name, bytes([len(name)]) + body)


if __name__ == "__main__":
    main()
