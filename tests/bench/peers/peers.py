#!/usr/bin/env python3
"""peers.py - lammd beside llama.cpp, on the same work and in the same run: `make bench-peers`.

    peers.py [--work build/peers] [--rounds 3] [--queries 1024] [--threads N] [--as FORM]...
             [--seven] [--lammd ./lammd]

Fetches llama.cpp as the source that llama-cpp-python has on PyPI, builds it for this machine,
writes models with drawn weights of one shape for both sides, and lets them take turns. Of each
figure the median of the rounds is printed, with least and most, and the ratio to the peer's best.

answers   questions of 13 tokens behind a prompt of 273, each answered by 12 tokens: a pixel
masks     the same with one token: a place of a mask
          Both of a LLaMA of 24 million: 288 wide, 6 layers, 6 heads, FFN 768, vocabulary 32,000.
          llama.cpp in f32, q8_0 and q4_0, 64 and 255 questions at a time; lammd in f32 and the
          forms that --as names
--seven   one answer of LLaMA-2's 7 billion: q8_0 beside int8x8, q4_0 beside int4x8, since llama.cpp
          rounds rows to 8 bits, too. Wants 16 GiB of memory and 12 of disk

lammd's times are of a picture that it knows: neither side's have the prompt's. Its rows are
fewer, since questions share a tree: that is what it is for. Weights are drawn, and not the same:
answers aren't compared. Needs numpy, cmake, a C++ compiler and PyPI.
"""
import argparse
import glob
import json
import os
import statistics
import subprocess
import sys

import gguf

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
SMALL = {"hidden": 288, "layers": 6, "heads": 6, "ffn": 768, "vocab": 32000, "positions": 2048}
SEVEN = {"hidden": 4096, "layers": 32, "heads": 32, "ffn": 11008, "vocab": 32000, "positions": 4096}
STEM, SUFFIX, ANSWER = 273, 13, 12
NO_AMX = "-mno-amx-int8"  # of this version: with AMX it crashes where a row has 288 weights
WIDTHS = (64, 255)
LONG_PROMPT, SPOKEN = 1100, 16  # of one answer by a model of 7 billion


def run(*command, **more):
    return subprocess.run(list(map(str, command)), check=True, **more)


def output(*command):
    return json.loads(run(*command, stdout=subprocess.PIPE).stdout)


# ---- the peer ----

def build(work, flags=""):
    """The program of llama.c, linked with the library."""
    name = "llama" + flags
    program = f"{work}/{name}"
    if os.path.exists(program) and os.path.getmtime(program) > os.path.getmtime(f"{HERE}/llama.c"):
        return program
    os.makedirs(work, exist_ok=True)
    source = f"{work}/{PACKAGE.replace('-', '_')}-{VERSION}"
    if not os.path.isdir(source):
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", PACKAGE, "-d", work,
            f"{PACKAGE}=={VERSION}")
        run("tar", "xzf", source + ".tar.gz", "-C", work)
    off = ("BUILD_SHARED_LIBS", "LLAMA_BUILD_COMMON", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_TOOLS",
           "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_SERVER", "LLAMA_CURL")
    run("cmake", "-S", f"{source}/vendor/llama.cpp", "-B", f"{work}/build{flags}", "-DCMAKE_BUILD_TYPE=Release",
        "-DGGML_NATIVE=ON", "-DGGML_OPENMP=ON", f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}",
        *[f"-D{key}=OFF" for key in off], stdout=subprocess.DEVNULL)
    run("cmake", "--build", f"{work}/build{flags}", "--target", "llama", "-j", os.cpu_count())
    include = [f"-I{source}/vendor/llama.cpp/{d}" for d in ("include", "ggml/include")]
    run("cc", "-std=gnu11", "-O2", "-c", *include, f"{HERE}/llama.c", "-o", f"{program}.o")
    libraries = [p for lib in ("llama", "ggml", "ggml-cpu", "ggml-base")
                 for p in glob.glob(f"{work}/build{flags}/**/lib{lib}.a", recursive=True)]
    run("c++", f"{program}.o", "-Wl,--start-group", *libraries, "-Wl,--end-group", "-fopenmp", "-lpthread", "-ldl",
        "-o", program)
    return program


def gguf_of(work, name, shape, form):
    path = f"{work}/{name}-{form}.gguf"
    if not os.path.exists(path):
        gguf.write(path + ".part", shape, form)
        os.rename(path + ".part", path)
    return path


# ---- lammd ----

def shape_folder(work):
    """lamm-mini's tower before the small decoder, with a tokenizer of one digit a token."""
    folder = f"{work}/shape"
    os.makedirs(folder, exist_ok=True)
    with open(f"{ROOT}/models/lamm-mini/config.json", encoding="utf-8") as f:
        config = json.load(f)
    config["text_config"].update(hidden_size=SMALL["hidden"], intermediate_size=SMALL["ffn"],
                                 num_hidden_layers=SMALL["layers"], num_attention_heads=SMALL["heads"],
                                 num_key_value_heads=SMALL["heads"], vocab_size=SMALL["vocab"],
                                 max_position_embeddings=SMALL["positions"])
    with open(f"{folder}/config.json", "w", encoding="utf-8") as f:
        json.dump(config, f)
    tokenizer = f"{folder}/tokenizer.model"
    if not os.path.exists(tokenizer):
        os.symlink(f"{ROOT}/models/shapes/pae-lamm-7b/tokenizer.model", tokenizer)
    return folder


# ---- the table ----

class Figures:
    """Rates of each contestant, round by round; more is better."""

    def __init__(self):
        self.of = {}

    def add(self, who, rate):
        self.of.setdefault(who, []).append(rate)

    def best(self, side):
        return max((who for who in self.of if who.startswith(side)), key=lambda w: statistics.median(self.of[w]))

    def show(self, title, unit):
        peer = statistics.median(self.of[self.best("llama.cpp")])
        print(f"\n| {title} | {unit} | beside the best llama.cpp |\n|---|---|---|")
        for who, rates in self.of.items():
            m = statistics.median(rates)
            print(f"| {who} | {m:.4g} ({min(rates):.4g} .. {max(rates):.4g}) | {m / peer:.2f} |")
        sys.stdout.flush()


def small(o, program):
    shape, answers, masks = shape_folder(o.work), Figures(), Figures()
    for _ in range(o.rounds):
        for form in ("f32", "q8_0", "q4_0"):
            path = gguf_of(o.work, "small", SMALL, form)
            for width in WIDTHS:
                for figures, answer in ((answers, ANSWER), (masks, 1)):
                    r = output(program, path, STEM, SUFFIX, answer, o.queries, width, o.threads)
                    figures.add(f"llama.cpp {form}, {width} at a time", r["queries"] / r["s"])
        for form in ["f32", *o.forms]:
            r = output(o.lammd, "bench", "pix4096", "--quick", "--json", "--repeat", 1, "--limit", o.queries, "--device",
                       "cpu", "--model", shape, "--weights", "random:1", "--weights-as", form, "--threads", o.threads)[0]
            answers.add(f"lammd {form}", o.queries / r["warm_s"])
            masks.add(f"lammd {form}", o.queries / r["mask_s"])
    answers.show(f"answers of {ANSWER} tokens", "questions a second")
    masks.show("masks, a decision a place", "places a second")


def seven(o, program):
    prompt, spoken = Figures(), Figures()
    for peer, form in (("q8_0", "int8x8"), ("q4_0", "int4x8")):
        path = gguf_of(o.work, "seven", SEVEN, peer)
        r = output(program, path, LONG_PROMPT, 1, SPOKEN, 1, 1, o.threads)
        os.unlink(path)
        prompt.add(f"llama.cpp {peer}", LONG_PROMPT / r["stem_s"])
        spoken.add(f"llama.cpp {peer}", SPOKEN / r["s"])
        r = output(o.lammd, "bench", "ops", "--json", "--repeat", 1, "--limit", SPOKEN, "--device", "cpu", "--shape",
                   "pae-lamm-7b", "--weights", "random:1", "--weights-as", form, "--threads", o.threads)
        prompt.add(f"lammd {form}, {r['prompt_rows']} tokens", r["prompt_tokens_per_second"])
        spoken.add(f"lammd {form}", r["tokens_per_second"])
    prompt.show("7 billion: the prompt", "tokens a second")
    spoken.show("7 billion: the answer", "tokens a second")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--work", default=f"{ROOT}/build/peers")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--queries", type=int, default=1024)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--as", dest="forms", action="append", default=[], metavar="FORM", help="of --weights-as")
    ap.add_argument("--seven", action="store_true")
    ap.add_argument("--lammd", default=f"{ROOT}/lammd")
    o = ap.parse_args()
    program = build(o.work, "" if o.seven else NO_AMX)
    print(f"llama.cpp of {PACKAGE} {VERSION}; {o.threads} threads, {o.rounds} rounds by turns")
    (seven if o.seven else small)(o, program)


if __name__ == "__main__":
    main()
