"""test_answers.py - `eval vqa` and `eval game`: answers in words, and actions of a round."""
import collections
import contextlib
import json
import os
import types

import convert
import numpy as np
from lab import folder, get, near, put, report

# ---- questions ----

def plain(text):
    return text.replace("<unk>", "").strip().lower()


def constant(pairs):
    """The best single answer's share of `pairs`: lists of {answer: score}."""
    sums = collections.Counter()
    for p in pairs:
        sums.update(p)
    return 100 * max(sums.values()) / len(pairs)


def check_answers(out, truth):
    """truth: (type, {answer: score}) of each question."""
    assert len(out["items"]) == len(truth) == out["questions"]
    by_type = collections.defaultdict(list)
    for item, (kind, scores) in zip(out["items"], truth):
        near(item["score"], scores.get(item["said"], 0))
        by_type[kind].append((item["score"], scores))
    for kind, rows in list(by_type.items()) + [(None, sum(by_type.values(), []))]:
        figures = out["types"][kind] if kind else out["all"]
        assert figures["questions"] == len(rows)
        near(figures["accuracy"], 100 * sum(s for s, _ in rows) / len(rows))
        near(figures["best_constant"], constant([scores for _, scores in rows]))


def test_vqa_gqa(tmp):
    folder(tmp)
    path = tmp + "/gqa.json"
    asked = get(path)
    out = report("vqa", path)
    assert out["set"] == "GQA" and [i["question"] for i in out["items"]] == [q["question"] for q in asked.values()]
    check_answers(out, [(q["types"]["structural"], {q["answer"]: 1}) for q in asked.values()])
    # every second answer becomes what it says, in other letters
    for k, (q, item) in enumerate(zip(asked.values(), out["items"])):
        q["answer"] = f"  {item['said'].upper()}<unk> " if k % 2 == 0 else "none of this"
    own = sum(1 for k, i in enumerate(out["items"])
              if k % 2 == 0 and plain(i["said"].upper()) == i["said"])
    put(path, asked)
    again = report("vqa", path)
    assert own > 0 and sum(i["score"] for i in again["items"]) == own
    near(again["all"]["accuracy"], 100 * own / len(asked))


def test_vqa_vsr(tmp):
    folder(tmp)
    with open(tmp + "/vsr.jsonl", encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    assert [s["caption"] for s in lines[:3]] == [
        "the red bar is left of the blue disc.", "the red bar is below the blue disc.",
        "there is a cup."] and [s["label"] for s in lines[:3]] == [1, 0, 0]
    truth = [(s["relation"], {["false", "true"][s["label"]]: 1}) for s in lines]
    out = report("vqa", tmp + "/vsr.jsonl")
    assert out["set"] == "VSR"
    check_answers(out, truth)
    assert report("vqa", put(tmp + "/list.json", lines))["items"] == out["items"]
    assert report("vqa", put(tmp + "/one.jsonl", lines[0]))["items"] == out["items"][:1]


def test_vqa_vizwiz(tmp):
    folder(tmp)
    path = tmp + "/vizwiz.json"
    asked = get(path)
    said = [i["said"] for i in report("vqa", path)["items"]]
    truth = []
    for k, q in enumerate(asked):  # k of ten say what it says
        q["answers"] = [{"answer": said[k] or "nothing"}] * (k % 6) + [{"answer": "Other"}] * (10 - k % 6)
        scores = {"other": 1.0}
        if k % 6:
            scores[said[k] or "nothing"] = min(k % 6 / 3, 1)
        truth.append((q["answer_type"], scores))
    put(path, asked)
    out = report("vqa", path)
    assert out["set"] == "VizWiz"
    check_answers(out, truth)


def test_vqa_choices(tmp):
    folder(tmp)
    path = tmp + "/choices.json"
    asked = get(path)
    out = report("vqa", path)
    check_answers(out, [(q["type"], {q["choices"][q["answer"]]: 1}) for q in asked])
    near(out["all"]["chance"], 100 * sum(1 / len(q["choices"]) for q in asked) / len(asked))
    assert all(i["said"] in q["choices"] for i, q in zip(out["items"], asked))
    for q, item in zip(asked, out["items"]):
        q["answer"] = item["said"]  # as a text now
    near(report("vqa", put(path, asked))["all"]["accuracy"], 100)


def test_vqa_names_of_pictures(tmp):
    """IconQA's folders, HM's lines, and COCO's names with a number behind."""
    folder(tmp, 1)
    picture = tmp + "/images/000000.png"
    os.makedirs(tmp + "/images/17")
    os.link(picture, tmp + "/images/17/image.png")
    os.link(picture, tmp + "/images/COCO_train2014_000000123456.png")
    icon = {"question": "what?", "choices": ["a", "b"], "answer": 1, "image_id": "17"}
    assert report("vqa", put(tmp + "/i.json", [icon]))["items"][0]["file"] == "17/image.png"
    with open(tmp + "/hm.jsonl", "w", encoding="utf-8") as f:
        for label in (0, 1, 1):
            f.write(json.dumps({"img": "000000.png", "text": "some words", "label": label}) + "\n")
    out = report("vqa", tmp + "/hm.jsonl")
    assert out["set"] == "HM" and out["all"]["constant"] == "yes"
    near(out["all"]["best_constant"], 200 / 3)
    said = [{"img_id": "COCO_train2014_000000123456_7", "sents": "it", "bbox": [1, 2, 3, 4],
             "width": 90, "height": 60}]
    assert report("rec", put(tmp + "/m.json", said))["sentences"] == 1


# ---- games ----

def record(path, n, action):
    """A recording as tools/games writes it, in two episodes with a gap in the second."""
    rng = np.random.default_rng(3)
    step = np.arange(n)
    step[n // 2:] -= n // 2
    step[3 * n // 4:] += 5
    np.savez(path, frames=rng.integers(0, 256, (n, 24, 32, 3), dtype=np.uint8), action=action,
             episode=(np.arange(n) >= n // 2).astype(np.int64), step=step)


def play(tmp, action):
    record(tmp + "/r.npz", len(action), action)
    with contextlib.redirect_stdout(None):
        convert.convert_rollout(types.SimpleNamespace(record=tmp + "/r.npz", out=tmp, count=500))
    return get(tmp + "/rollout.json")


def test_game(tmp):
    rng = np.random.default_rng(5)
    for n_values, most, frames in ((3, 20, 2), (1, 5, 4)):
        action = rng.integers(0, most + 1, (24, 3)) if n_values == 3 else rng.integers(0, most + 1, 24)
        rollout = play(tmp, action)
        steps = rollout["steps"]
        assert len(steps) == 24 - 3 * (frames - 1)  # without the first of each of three runs
        assert all(len(s["frames"]) == frames for s in steps)
        out = report("game", tmp)
        said = np.array([i["action"] for i in out["items"]])
        true = np.array([s["action"] for s in steps]).reshape(len(steps), -1)
        near(out["agreement"]["same_action"], 100 * (said == true).all(1).mean())
        best = collections.Counter(map(tuple, true.tolist())).most_common(1)[0][1]
        near(out["best_constant"]["same_action"], 100 * best / len(steps))
        if n_values == 3:
            middle = np.sort(true, 0)[(len(steps) - 1) // 2]
            for k, axis in enumerate(("steering", "gas", "brake")):
                near(out["agreement"][axis], np.abs(said - true)[:, k].mean())
                near(out["best_constant"][axis], np.abs(true - middle)[:, k].mean())
        for s, a in zip(steps, said.tolist()):  # what it does becomes what was done
            s["action"] = a if n_values == 3 else a[0]
        put(tmp + "/rollout.json", rollout)
        again = report("game", tmp + "/rollout.json")["agreement"]
        near(again["same_action"], 100)
        assert n_values == 1 or again["steering"] == again["gas"] == again["brake"] == 0


def test_in_a_row(_):
    at = convert.in_a_row(np.array([1, 1, 1, 2, 2, 2]), np.array([5, 6, 7, 8, 9, 11]), 2)
    assert at.tolist() == [1, 2, 4]
    assert convert.in_a_row(np.array([1, 1, 1, 1]), np.array([0, 1, 2, 3]), 4).tolist() == [3]
