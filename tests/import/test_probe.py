"""What no checkpoint says is found out by asking."""
import json
import os
import shutil
import subprocess

from lab import ROOT, refused, run

MINI = os.path.join(ROOT, "models/lamm-mini")
PHOTO = os.path.join(ROOT, "tests/browser/photo.jpg")


def mini(folder, **wrong):
    """lamm-mini, whose prompts are known, with another config; and with its sums."""
    os.mkdir(folder)
    for name in ("model.safetensors", "tokenizer.model"):
        shutil.copy(os.path.join(MINI, name), folder)
    with open(os.path.join(MINI, "config.json")) as f:
        c = json.load(f)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump({**c, **wrong}, f)
    with open(os.path.join(folder, "SHA256SUMS"), "wb") as f:
        f.write(subprocess.check_output(["sha256sum", "config.json", "model.safetensors", "tokenizer.model"], cwd=folder))
    return c


def test_finds_what_was_trained(_, tmp):
    for i, wrong in enumerate([{"coord_order": "xy"}, {"inst_spaces": 2, "coord_order": "xy"}, {"bos_count": 2}]):
        good = mini(tmp(f"m{i}"), **wrong)
        r = run("--probe", PHOTO, "-o", tmp(f"m{i}"))
        assert r.stderr.count(": changed") == len(wrong), r.stderr
        with open(tmp(f"m{i}", "config.json")) as f:
            assert json.load(f) == good
        subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp(f"m{i}"), check=True)
    assert not [n for n in os.listdir(tmp()) if "probe" in n]


def test_leaves_what_is_right(_, tmp):
    mini(tmp("m"))
    before = sorted((n, os.stat(tmp("m", n)).st_mtime_ns) for n in os.listdir(tmp("m")))
    run("--probe", PHOTO, "-o", tmp("m"))
    assert before == sorted((n, os.stat(tmp("m", n)).st_mtime_ns) for n in os.listdir(tmp("m")))
    refused("No such file", "--probe", "none.jpg", "-o", tmp("m"))
    refused("config.json", "--probe", PHOTO, "-o", tmp("none"))
