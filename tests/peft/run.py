#!/usr/bin/env python3
"""run.py - adapters against an installed peft: it loads what we export, we read what it saves, and
serve it as it does.

    tests/peft/run.py [--long] [substring...]

Needs peft, transformers and torch; skips aloud without them. Recorded answers of peft are compared
in any case (tests/unit/engine/train/test_peft_golden.c). TESTS names the folder with peft_through
and model_taps.
Ends with `N passed, N failed`.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILT = os.environ.get("TESTS", os.path.join(ROOT, "build/release/tests"))
THROUGH, TAPS = os.path.join(BUILT, "peft_through"), os.path.join(BUILT, "model_taps")
TINY = os.path.join(ROOT, "tests/golden/tiny")
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, "tools/oracle"), os.path.join(ROOT, "tests")]
import suite  # noqa: E402 (takes --long)
try:
    import torch
    import peft
    import make_peft_golden as golden
    import stfile
except ImportError as e:
    print(f"skip: peft: {e}: pip install peft transformers")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

PLACES = golden.ALL
NEAR, SERVED_NEAR = 1e-5, 1e-4


def wide_base(folder):
    """The tiny model in float32, so that merging rounds nothing else."""
    os.makedirs(folder)
    for name in ("config.json", "tokenizer.model"):
        shutil.copy(os.path.join(TINY, name), folder)
    weights = stfile.read(os.path.join(TINY, "model.safetensors"))
    stfile.write(os.path.join(folder, "model.safetensors"), {k: v.float() for k, v in weights.items()})
    return folder


def through(tmp, base, adapter, how, ok=True):
    mask = sum(1 << PLACES.index(p) for p in how["target_modules"])
    words = [base, adapter, str(how["r"]), str(how["lora_alpha"]), "01"[how.get("use_rslora", False)],
             str(mask), tmp]
    r = subprocess.run([THROUGH, *words], capture_output=True, text=True, timeout=suite.SOON, check=False)
    assert (r.returncode == 0) == ok, r.stderr
    return r.stderr


def served(tmp, adapter, ok=True):
    """What an unmerged adapter answers beside the model; or why it is refused."""
    words = [TINY, adapter, "-", tmp + "/taps", *map(str, golden.IDS)]
    r = subprocess.run([TAPS, *words], capture_output=True, text=True, timeout=suite.SOON, check=False)
    assert (r.returncode == 0) == ok, r.stderr
    if not ok:
        return r.stderr
    return torch.softmax(stfile.read(tmp + "/taps")["logits"].double(), -1).float()


def new_adapter(folder, how, seed):
    """A LoRA with random numbers, saved by peft; its answers."""
    torch.manual_seed(seed)
    how = dict(how, init_lora_weights=False)
    model = peft.get_peft_model(golden.base(TINY), peft.LoraConfig(task_type="CAUSAL_LM", **how)).eval()
    model.save_pretrained(folder)
    return golden.answers(model)


def both_ways(tmp, how, seed):
    base, saved = wide_base(tmp + "/base"), tmp + "/saved"
    want = new_adapter(saved, how, seed)
    through(tmp, base, saved, how)
    ours = stfile.read(tmp + "/adapter/adapter_model.safetensors")
    theirs = stfile.read(saved + "/adapter_model.safetensors")
    assert sorted(ours) == sorted(theirs)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of keys that are missing or unknown
        model = peft.PeftModel.from_pretrained(golden.base(TINY), tmp + "/adapter").eval()
    loaded = golden.answers(model)
    merged = golden.answers(golden.base(tmp + "/model"))
    assert torch.equal(loaded, want), (loaded - want).abs().max()
    worst = (merged - want).abs().max().item()
    assert worst <= NEAR, worst
    beside = (served(tmp, saved) - want).abs().max().item()
    assert beside <= SERVED_NEAR, beside
    assert (want - golden.answers(golden.base(TINY))).abs().max() > 0.01
    print(f"peft {peft.__version__}: our merge is {worst:.1e} from its forward, what we serve {beside:.1e}")


def test_plain(tmp):
    both_ways(tmp, {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}, 1)


def test_rslora_everywhere(tmp):
    both_ways(tmp, {"r": 5, "lora_alpha": 3, "target_modules": PLACES, "use_rslora": True}, 2)


def test_recorded_files_are_what_peft_saves(tmp):
    for name, how in golden.ADAPTERS.items():
        new_adapter(tmp, how, 3)
        with open(tmp + "/adapter_config.json", encoding="utf-8") as f:
            now = json.load(f)
        with open(f"{ROOT}/tests/golden/peft/{name}/adapter_config.json", encoding="utf-8") as f:
            recorded = json.load(f)
        for c in (now, recorded):
            c.pop("peft_version"), c.pop("init_lora_weights")
            if isinstance(c["target_modules"], list):
                c["target_modules"].sort()
        assert now == recorded, (now, recorded)
        recorded = stfile.read(f"{ROOT}/tests/golden/peft/{name}/adapter_model.safetensors")
        now = stfile.read(tmp + "/adapter_model.safetensors")
        assert {k: v.shape for k, v in now.items()} == {k: v.shape for k, v in recorded.items()}


def test_a_pattern_is_served(tmp):
    how = {"r": 6, "lora_alpha": 3, "target_modules": r".*\.0\.(self_attn|mlp)\.(o|up|down)_proj"}
    want = new_adapter(tmp + "/saved", how, 5)
    beside = (served(tmp, tmp + "/saved") - want).abs().max().item()
    assert beside <= SERVED_NEAR, beside
    assert (want - golden.answers(golden.base(TINY))).abs().max() > 0.01


def test_what_we_refuse(tmp):
    """Configs that peft itself makes, of adapters that compute something else."""
    base, how = wide_base(tmp + "/base"), {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    for field, value in (("use_dora", True), ("bias", "lora_only"), ("rank_pattern", {"q_proj": 2}),
                         ("alpha_pattern", {"q_proj": 2}), ("modules_to_save", ["lm_head"]),
                         ("lora_bias", True), ("trainable_token_indices", [5])):
        new_adapter(tmp + "/saved", dict(how, **{field: value}), 4)
        said = through(tmp, base, tmp + "/saved", how, ok=False)
        assert f": {field}: " in said, (field, said)
        said = served(tmp, tmp + "/saved", ok=False)
        assert f": {field}: " in said, (field, said)
        assert not os.path.exists(tmp + "/model"), "something was written"


def main():
    tests = [f for n, f in sorted(globals().items()) if n.startswith("test_")]
    chosen = [f for f in tests if not sys.argv[1:] or any(w in f.__name__ for w in sys.argv[1:])]
    failed = 0
    for f in chosen:
        with tempfile.TemporaryDirectory() as tmp:
            try:
                f(tmp)
            except Exception:  # pylint: disable=broad-except
                failed += 1
                traceback.print_exc()
                print(f"FAIL {f.__name__}")
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
