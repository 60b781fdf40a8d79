#!/usr/bin/env python3
"""run.py - `lammd batch`: every task, killed at any moment, on a full disk, with broken lines.

    tests/batch/run.py [--long] [substring...]

What stands in the file of answers after any number of kills is held, byte by byte, against a batch
that nobody disturbed. Needs python3-pil; skips aloud without it. Ends with `N passed, N failed`.
"""
import base64
import fcntl
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
TESTS = os.environ.get("TESTS", os.path.join(ROOT, "build/release/tests"))
TINY = os.path.join(ROOT, "tests/golden/tiny")
MINI = os.path.join(ROOT, "models/lamm-mini")
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, "tests")]
import suite  # noqa: E402 (takes --long)

try:
    from PIL import Image
except ImportError:
    print("skip: batch: no PIL: apt-get install python3-pil")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

LINE_MAX = 16 << 20


class Skip(Exception):
    """Something outside is missing; the text says what."""


# ---- lines ----

def png(seed, side=40):
    rng = random.Random(seed)
    image = Image.new("RGB", (side, side), tuple(rng.randrange(256) for _ in range(3)))
    image.paste(tuple(rng.randrange(256) for _ in range(3)), (5, 5, 5 + seed % 30, 30))
    to = io.BytesIO()
    image.save(to, "PNG")
    return to.getvalue()


def url(seed):
    return "data:image/png;base64," + base64.b64encode(png(seed)).decode()


def line(name, path, **body):
    return {"custom_id": name, "method": "POST", "url": path, "body": body}


def drive(seed=1):
    """A game's two frames are too much for the tiny model."""
    return line(f"drive {seed}", "/v1/act", game="car_racing", frames=[url(seed), url(seed + 1)],
                deadline_ms=1, default={"steering": 0, "gas": 0, "brake": 1})


def each_task(seed=1):
    """One line of each task that the API has, without games."""
    talk = [{"role": "user", "content": [{"type": "text", "text": "what is it?"},
                                         {"type": "image_url", "image_url": {"url": url(seed)}}]}]
    return [
        line(f"see {seed}", "/v1/reconstruct", image=url(seed), width=4, height=4),
        line(f"pixels {seed}", "/v1/pixels", image=url(seed), points=[[0, 0], [3, 2]]),
        line(f"mask {seed}", "/v1/segment", image=url(seed), sentence="the red thing"),
        line(f"box {seed}", "/v1/refer", image=url(seed), sentence="the red thing"),
        line(f"text {seed}", "/v1/describe", image=url(seed), task="caption", max_tokens=5),
        line(f"answer {seed}", "/v1/vqa", image=url(seed), question="is it red?", choices=["yes", "no"]),
        line(f"chat {seed}", "/v1/chat/completions", messages=talk, max_tokens=5)]


def put(folder, lines, name="in.jsonl"):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as f:
        for one in lines:
            f.write((one if isinstance(one, str) else json.dumps(one)) + "\n")
    os.utime(path, (1e9, 1e9))  # its time is that of the answers
    return path


def get(path):
    with open(path, "rb") as f:
        return f.read()


def answers(path):
    return [json.loads(one) for one in get(path).splitlines()]


# ---- the command ----

def command(questions, out, *words, model=TINY):
    return [PROGRAM, "batch", questions, out, "--eager", "--model", model, "--threads", "1", *words]


def batch(questions, out, *words, status=0, model=TINY, **how):
    r = subprocess.run(command(questions, out, *words, model=model), capture_output=True, text=True,
                       timeout=10 * suite.SOON, check=False, **how)
    assert r.returncode == status, (r.returncode, r.stderr)
    assert r.stdout == "", r.stdout
    return r.stderr


def kill_at(lines, questions, out, *words):
    """Kill it as soon as so many lines are there; was it still at work?"""
    with subprocess.Popen(command(questions, out, *words), stderr=subprocess.DEVNULL) as p:
        suite.wait_for(lambda: p.poll() is not None or
                       (os.path.exists(out) and get(out).count(b"\n") >= lines))
        p.kill()
        return p.wait() == -signal.SIGKILL


# ---- tests ----

def test_every_task_has_its_answer_in_order(tmp):
    lines = [*each_task(), drive()]
    questions, out = put(tmp, lines), os.path.join(tmp, "out.jsonl")
    said = batch(questions, out, model=MINI)
    got = answers(out)
    assert [a["custom_id"] for a in got] == [q["custom_id"] for q in lines]
    for i, a in enumerate(got):
        assert a["id"] == f"line-{i + 1}" and a["error"] is None, a
        assert a["response"]["status_code"] == 200 and a["response"]["request_id"] == a["id"], a
        assert a["fingerprint"].startswith("fp_")
        assert "timing" not in a["response"]["body"], a
    chat, action = got[6]["response"]["body"], got[7]["response"]["body"]
    assert action["late"] is False and "latency_ms" not in action, action
    assert chat["object"] == "chat.completion" and chat["created"] == 10**9, chat
    assert f"{out}: 8 lines, 8 of them new" in said and "failed" not in said, said


def test_an_answer_is_that_of_lammd_ask(tmp):
    photo, out = os.path.join(tmp, "a.png"), os.path.join(tmp, "out.jsonl")
    with open(photo, "wb") as f:
        f.write(png(3))
    batch(put(tmp, [line("a", "/v1/refer", image="file:a.png", sentence="the red thing")]), out)
    r = subprocess.run([PROGRAM, "ask", "refer", photo, "sentence=the red thing", "--model", TINY,
                        "--threads", "1"], capture_output=True, check=True, timeout=suite.SOON)
    want, got = json.loads(r.stdout), answers(out)[0]["response"]["body"]
    del want["timing"], want["id"], got["id"], want["usage"], got["usage"]
    assert got == want, (got, want)


def test_killed_twice_it_has_the_same_bytes(tmp):
    lines = [q for seed in range(1, 41) for q in each_task(seed)]
    questions, whole = put(tmp, lines), os.path.join(tmp, "whole.jsonl")
    batch(questions, whole)
    rng = random.Random(1)
    for turn in range(suite.count(2, 20)):
        out, words = os.path.join(tmp, f"out{turn}.jsonl"), ["--unordered"] if turn % 2 else []
        killed = 0
        for attempt in range(20):
            if killed == 2:
                break
            at = rng.randrange(1, 12) if not killed else get(out).count(b"\n") + rng.randrange(1, 12)
            if kill_at(at, questions, out, *words):
                killed += 1
            else:  # it was through before the kill came
                os.unlink(out)
                killed = 0
        assert killed == 2, attempt
        said = batch(questions, out, *words)
        assert "going on: " in said, said
        if words:
            assert sorted(get(out).splitlines()) == sorted(get(whole).splitlines())
        else:
            assert get(out) == get(whole)


def test_what_is_done_is_not_asked_again(tmp):
    lines = each_task()
    questions, out = put(tmp, lines), os.path.join(tmp, "out.jsonl")
    batch(questions, out)
    whole = get(out).splitlines(keepends=True)
    with open(out, "wb") as f:  # the third answer is somebody's mark; the last line is torn
        f.write(b"".join(whole[:2]) + whole[2].replace(b'"error":null', b'"error":{}') + whole[3][:-9])
    said = batch(questions, out)
    assert "going on: 3 of 7 lines are done" in said and "7 lines, 4 of them new" in said, said
    assert get(out).splitlines(keepends=True)[2].endswith(b'"error":{}}\n')
    assert get(out).splitlines(keepends=True)[3:] == whole[3:]
    before = get(out)
    assert "0 of them new" in batch(questions, out)
    assert get(out) == before


def test_parts_are_the_whole(tmp):
    lines = each_task(1) + each_task(2)[:3]
    questions, whole = put(tmp, lines), os.path.join(tmp, "whole.jsonl")
    batch(questions, whole)
    parts = []
    for i in range(3):
        out = os.path.join(tmp, f"part{i}.jsonl")
        batch(questions, out, "--part", f"{i}/3")
        parts.append(get(out).splitlines())
    assert [len(p) for p in parts] == [4, 3, 3]
    assert [parts[i % 3][i // 3] for i in range(10)] == get(whole).splitlines()
    for wrong in ("3/3", "1", "-1/3", "0/0", "1/3x"):
        r = subprocess.run(command(questions, out, "--part", wrong), capture_output=True, text=True,
                           check=False, timeout=suite.SOON)
        assert r.returncode == 1 and "--part takes I/N" in r.stderr, (wrong, r.stderr)


def test_a_broken_line_is_said_and_the_rest_goes_on(tmp):
    good, other = each_task()[3], each_task(2)[3]
    lines = [
        good,
        "{no json",                                               # 2
        {**other, "custom_id": ""},                               # 3
        {k: v for k, v in other.items() if k != "custom_id"},     # 4
        {**other, "custom_id": "get", "method": "GET"},           # 5
        {**other, "custom_id": "url", "url": "/v1/images"},       # 6
        {**other, "custom_id": "more", "mode": 1},                # 7
        {**other, "custom_id": "body", "body": []},               # 8
        {**good, "body": other["body"]},                          # 9: a second one of that name
        line("field", "/v1/refer", image=url(1), phrase="x"),     # 10
        line("stream", "/v1/chat/completions", stream=True,       # 11
             messages=[{"role": "user", "content": "hello"}]),
        "",
        '{"a":' * 50 + "1" + "}" * 50,                            # 13
        "[1]",                                                    # 14
        '{"custom_id": "long", "x": "' + "y" * LINE_MAX + '"}',   # 15
        line("web", "/v1/refer", image="http://example.org/a.png", sentence="x"),  # 16
        other]
    questions, out = put(tmp, lines), os.path.join(tmp, "out.jsonl")
    said = batch(questions, out, status=1)
    for number in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16):
        assert f"lammd: line {number}: " in said, (number, said)
    assert "custom_id is that of line 1, too" in said and "the line is longer than 16 MiB" in said
    assert "14 lines failed" in said, said
    got = {a["custom_id"]: a for a in answers(out)}
    assert [a["custom_id"] for a in answers(out)] == \
        [good["custom_id"], "get", "url", "more", "body", "field", "stream", "web", other["custom_id"]]
    for name in (good["custom_id"], other["custom_id"]):
        assert got[name]["response"]["status_code"] == 200
    for name in ("get", "url", "more", "body"):
        assert got[name]["response"] is None and got[name]["error"]["code"] == "invalid_line"
    for name in ("field", "stream", "web"):
        assert got[name]["response"]["status_code"] in (400, 422), got[name]
        assert got[name]["response"]["body"]["error"]["message"]
    before = get(out)
    said = batch(questions, out, status=1)  # still not all of them
    assert "0 of them new" not in said and "14 lines failed" in said, said
    assert get(out) == before


def test_pictures_lie_beside_the_file(tmp):
    os.mkdir(os.path.join(tmp, "photos"))
    os.mkdir(os.path.join(tmp, "batch"))
    os.mkfifo(os.path.join(tmp, "batch/pipe"))
    os.mkdir(os.path.join(tmp, "batch/a b"))
    for name in ("photos/1.png", "batch/a b/1.png"):
        with open(os.path.join(tmp, name), "wb") as f:
            f.write(png(1))
    with open(os.path.join(tmp, "batch/empty"), "wb"):
        pass
    with open(os.path.join(tmp, "batch/large"), "wb") as f:
        f.truncate((64 << 20) + 1)
    talk = [{"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {
        "url": "file:a b/1.png"}}]}]
    refused = ["file:../photos/1.png", "file:" + os.path.join(tmp, "photos/1.png"), "file:none.png",
               "file:pipe", "file:a b", "file:", "file:a b/../a b/1.png", "file:empty", "file:large"]
    lines = [line("data", "/v1/refer", image=url(1), sentence="x"),
             line("path", "/v1/refer", image="file:a b/1.png", sentence="x"),
             line("chat", "/v1/chat/completions", messages=talk, max_tokens=2)]
    lines += [line(path, "/v1/refer", image=path, sentence="x") for path in refused]
    out = os.path.join(tmp, "out.jsonl")
    batch(put(os.path.join(tmp, "batch"), lines), out, status=1)
    got = {a["custom_id"]: a["response"] for a in answers(out)}
    boxes = [{**got[k]["body"], "id": ""} for k in ("data", "path")]
    assert boxes[0] == boxes[1] and got["chat"]["status_code"] == 200, got["chat"]
    for path in refused:
        assert got[path]["status_code"] in (400, 413, 422), got[path]
    assert "leads down" in got["file:../photos/1.png"]["body"]["error"]["message"]
    assert "there is no such file" in got["file:none.png"]["body"]["error"]["message"]


def test_a_full_disk_ends_it_and_it_goes_on(tmp):
    lines = each_task(1) + each_task(2)
    questions, whole = put(tmp, lines), os.path.join(tmp, "whole.jsonl")
    batch(questions, whole)
    shim = os.path.join(TESTS, "badwrite.so")
    if not os.path.exists(shim):
        raise Skip("tests/badwrite.so is not built: make test builds it")
    for number in (1, 4):  # the write that fails; the one before is cut short
        out = os.path.join(tmp, f"out{number}.jsonl")
        env = {**os.environ, "LD_PRELOAD": shim, "BADWRITE_FOLDER": out, "BADWRITE": f"write:{number}:28"}
        said = batch(questions, out, status=1, env=env)
        assert f"{out}: No space left on device" in said and "give the same command again" in said, said
        assert get(whole).startswith(get(out)) and get(out)[-1:] in (b"", b"\n"), get(out)
        batch(questions, out)
        assert get(out) == get(whole)
    out, size = os.path.join(tmp, "small.jsonl"), len(get(whole)) // 2
    said = batch(questions, out, status=1,
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    assert f"{out}: File too large" in said, said
    assert get(whole).startswith(get(out)) and get(out).endswith(b"\n")
    batch(questions, out)
    assert get(out) == get(whole)


def test_a_wrong_file_of_answers_is_left_alone(tmp):
    lines = each_task()[3:6]
    questions, out = put(tmp, lines), os.path.join(tmp, "out.jsonl")
    batch(questions, out)
    before = get(out)
    said = batch(questions, out, status=1, model=MINI)
    assert "line 1 was answered by another model" in said, said
    with open(out, "rb+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        assert "another lammd batch writes it" in batch(questions, out, status=1)
    assert get(out) == before
    assert "the same file" in batch(questions, questions, status=1)
    for text in ("a diary\n", "{}\n", before.decode() * 2):
        with open(out, "w", encoding="utf-8") as f:
            f.write(text)
        said = batch(questions, out, status=1)
        assert "out.jsonl: line " in said, said
        assert get(out).decode() == text
    assert "No such file" in batch(os.path.join(tmp, "none"), out, status=1)
    assert "come from a file" in batch("/dev/null", out, status=1)


def test_nothing_is_nothing(tmp):
    questions, out = put(tmp, ["", " "]), os.path.join(tmp, "out.jsonl")
    assert "0 lines" in batch(questions, out)
    assert get(out) == b""


def test_a_bar_on_a_terminal(tmp):
    questions, out = put(tmp, each_task()), os.path.join(tmp, "out.jsonl")
    ours, its = os.openpty()
    with subprocess.Popen(command(questions, out), stderr=its) as p:
        os.close(its)
        said = b""
        try:
            while piece := os.read(ours, 4096):
                said += piece
        except OSError:  # the other end is closed
            pass
        assert p.wait(suite.SOON) == 0
    os.close(ours)
    assert b"[" + b"#" * 30 + b"] 7 of 7 lines, " in said and b" to go" in said, said


def main():
    tests = [f for n, f in sorted(globals().items()) if n.startswith("test_")]
    chosen = [f for f in tests if not sys.argv[1:] or any(w in f.__name__ for w in sys.argv[1:])]
    passed = failed = skipped = 0
    for f in chosen:
        try:
            with tempfile.TemporaryDirectory() as tmp:
                f(tmp)
            passed += 1
        except Skip as e:
            skipped += 1
            print(f"skip: batch {f.__name__[5:]}: {e}")
        except Exception:  # a test may fail in any way; the others still run
            failed += 1
            traceback.print_exc()
            print(f"FAIL batch {f.__name__[5:]}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
