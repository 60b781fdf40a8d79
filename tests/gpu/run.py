#!/usr/bin/env python3
"""run.py - tools/gpu/report.sh and floors.sh without a GPU, on stand-ins for what a card says.

    tests/gpu/run.py [substring...]

Ends with `N passed, N failed, N skipped`. Whether the real programs do on a card what the report
makes of them is rehearsed with `pack.sh --emulated`, not here.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REPORT = ROOT + "/tools/gpu/report.sh"
FORMAT = re.search(r"^FORMAT=(\d+)", open(REPORT).read(), re.M).group(1)

CARD = """echo "card: 0, Card, 139 GiB, tile, cuBLASLt 130100"
echo "room_mib=140000 copy_gbs=4000 product_tflops=700 product_n=8192"
"""
BENCH = """case "$*" in
*floors*) %s;;
*) echo '| pass of 32 layers, 1 lanes | 1.0 | 1.0 .. 1.0 | 1.0 | 100.0 %% |' ;;
esac
"""
TESTS = "echo '3 passed, 0 failed, 0 skipped'\n"
PICTURE = """case "$*" in *--profile*)
for file; do [ "$last" != --profile ] || echo '| attn_tree | 40 |' >"$file"; last=$file; done
exit;;
esac
echo 'pae-lamm-7b on cuda: 0, Card'
echo '<6>time=2026-01-01T00:00:00.000Z event=products device=0 12288 x 4096 bf16: id 66, tile 20, stages 36, cluster 258, workspace 0, proved for 2048 rows; 9 others tried, 2 unequal, 0 failed; to 8 rows id 67, tile 11, stages 4, cluster 2, 3.1 us for 8.2; to 16 rows id 68, tile 12, stages 4, cluster 2, 3.2 us for 8.3' >&2
echo '<6>time=2026-01-01T00:00:00.000Z event=products device=0 proved and chosen in 2103 ms' >&2
echo '  opening                          15000.0 ms   (6900.00 M parameters)'
for r in 512 1024; do
echo "$r rows a pass: 4096 questions, mode, 2 runs"
echo '  cold job                          2934.0 ms   (2600.0 .. 2700.0)'
echo '    of it the vision tower            10.0 ms   (9.0 .. 11.0)'
echo '    until the first pixel            100.0 ms   (9.0 .. 11.0)'
echo '  whole mask, picture known         1400.0 ms   (9.0 .. 11.0)'
echo '  act, one frame known                80.0 ms   (9.0 .. 11.0)'
%s
done
"""
PLUGIN = "import os\nprint('python has', os.environ.get('LD_LIBRARY_PATH'))\nprint('1 passed, 0 failed, 0 skipped')\n"


class Skip(Exception):
    """Why a test says nothing here."""


def script(path, body):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + body)
    os.chmod(path, 0o755)


def bundle(tmp, card=CARD, lammd=PICTURE % "", tests=TESTS, format_=FORMAT, bench=BENCH):
    """A bundle whose programs are shell scripts; its path."""
    top = tmp + "/pack/lammd-gpu"
    shutil.copytree(ROOT + "/tools/gpu", top + "/tools/gpu", ignore=shutil.ignore_patterns("__pycache__"))
    script(top + "/bin/lammd", lammd)
    script(top + "/bin/tests/bench_cuda", bench % card)
    script(top + "/bin/tests/run-kernels", tests)
    script(top + "/bin/tests/run-engine", tests)
    os.makedirs(top + "/tests/cuda")
    os.makedirs(top + "/lib")
    for name, text in (("tests/cuda/run.py", PLUGIN), ("FORMAT", format_ + "\n"), ("COMMIT", "abc123\n")):
        with open(f"{top}/{name}", "w") as f:
            f.write(text)
    with tarfile.open(tmp + "/bundle.tar.gz", "w:gz") as t:
        t.add(top, "lammd-gpu")
    return tmp + "/bundle.tar.gz"


def environment(tmp, **more):
    """No CUDA, no PyTorch, an OUT of its own."""
    os.makedirs(tmp + "/tmp", exist_ok=True)
    return {"PATH": os.environ["PATH"], "OUT": tmp + "/out", "TMPDIR": tmp + "/tmp", "CUDA_HOME": tmp + "/none",
            **more}


def report(tmp, *words, **more):
    """(exit status, what was printed, report.md or None)"""
    r = subprocess.run(["sh", REPORT, *words], capture_output=True, text=True, timeout=200, cwd=tmp,
                       env=environment(tmp, **more))
    path = tmp + "/out/report.md"
    text = open(path).read() if os.path.exists(path) else None
    assert os.listdir(tmp + "/tmp") == [], os.listdir(tmp + "/tmp")  # nothing is left lying about
    return r.returncode, r.stdout + r.stderr, text


def log(tmp, name, part=1):
    with tarfile.open(tmp + "/out/logs.tar.gz") as t:
        return t.extractfile(f"logs/part-{part}/{name}.log").read().decode()


def status(text, step):
    """The row of a step in the report's table."""
    return re.search(rf"^\| {step} \| ([^|]*) \|", text, re.M).group(1)


def test_wrong_calls(tmp):
    for words in (["--part", "3"], ["--part="], ["--part"], ["--what"], ["a", "b"]):
        rc, said, text = report(tmp, *words)
        assert rc == 2 and "usage" in said and text is None, (words, rc, said)
    rc, said, _ = report(tmp, BUDGET="8m")
    assert rc == 2 and "BUDGET" in said
    rc, said, _ = report(tmp, "--help")
    assert rc == 0 and "BUDGET" in said and "set -u" not in said


def refused(tmp, words, why):
    rc, said, text = report(tmp, *words)
    assert rc == 2 and why in said and why in text and "NOT RUN" in text, (rc, said, text)


def test_bundles_that_are_none(tmp):
    refused(tmp, [tmp + "/nowhere.tar.gz"], "there is no bundle")
    with open(tmp + "/broken.tar.gz", "wb") as f:
        f.write(open(bundle(tmp), "rb").read()[:3000])
    refused(tmp, [tmp + "/broken.tar.gz"], "can't be unpacked")


def test_bundle_of_another_version(tmp):
    refused(tmp, [bundle(tmp, format_="1")], f"wants a bundle of format {FORMAT}, {tmp}/bundle.tar.gz has 1")


def test_bundle_whose_own_script_is_of_another_version(tmp):
    bundle(tmp)
    top = tmp + "/pack/lammd-gpu"
    text = open(top + "/tools/gpu/report.sh").read().replace("\nFORMAT=", "\nFORMAT=1")
    open(top + "/tools/gpu/report.sh", "w").write(text)
    with tarfile.open(tmp + "/odd.tar.gz", "w:gz") as t:
        t.add(top, "lammd-gpu")
    refused(tmp, [tmp + "/odd.tar.gz"], "wants a bundle of format")


def test_no_device(tmp):
    packed = bundle(tmp, card="echo 'cuda: there is no NVIDIA driver'; exit 2")
    for part in ([], ["--part", "1"], ["--part=2"]):
        rc, said, text = report(tmp, *part, packed)
        assert rc == 2 and "RED: card: " in said, said
        assert text in said and "FAILED" in text.splitlines()[0] and "no NVIDIA driver" in text
        assert "there is no device to run on" in text and "| kernels |" not in text and "| fp8 |" not in text


def test_all_right(tmp):
    rc, said, text = report(tmp, "--part", "1", bundle(tmp))
    assert rc == 0, said
    assert text.startswith("# lammd on a GPU, part 1: all 9 steps right\n") and "RED" not in text
    assert said.endswith(text)  # printed last
    assert sorted(os.listdir(tmp + "/out")) == ["logs.tar.gz", "report.md"]
    assert "commit abc123" in text and "copy_gbs=4000 product_tflops=700" in text
    # 1,027 TFLOP at the card's own 700 are half of 2,934 ms.
    assert "| 512 | 2934.0 (50 %) |" in text and "| 1024 | 2934.0 (50 %) |" in text, text
    assert "--rows 512,1024,2048" in log(tmp, "picture") and "pix4096" in log(tmp, "profile")
    assert text.index("## picture") < text.index("## kernels") < text.index("| attn_tree | 40 |")
    assert text.count("## products") == 1 and "- proved and chosen in 2103 ms" in text
    assert "0 failed; to 8: id 67 tile 11, 3.1 us for 8.2; to 16: id 68 tile 12, 3.2 us for 8.3\n" in text, text


def test_both_parts(tmp):
    rc, said, text = report(tmp, bundle(tmp))
    assert rc == 0, said
    assert "part 1: all" in text and "part 2: all" in text and len(text) < 12000
    assert "skipped: there is no compute-sanitizer" in text or shutil.which("compute-sanitizer")
    assert "--weights-as fp8" in log(tmp, "fp8", 2) and "flat" in log(tmp, "otherwise", 2)


LT = re.search(r"^LT=(\S+)", open(REPORT).read(), re.M).group(1)
CUDA_HERE = any(os.path.exists(f"/usr/local/cuda/{f}/{LT}") for f in ("lib64", "targets/x86_64-linux/lib"))


def check_library_path(tmp, folder, **more):
    """What is set stays in front, then come `folder` and the bundle's; Python keeps its own."""
    os.makedirs(f"{tmp}/{folder}")
    open(f"{tmp}/{folder}/{LT}", "w").close()
    rc, said, _ = report(tmp, "--part", "1", bundle(tmp, card=CARD + 'echo "path $LD_LIBRARY_PATH"; '),
                         LD_LIBRARY_PATH="/driver:/other", **more)
    assert rc == 0, said
    assert re.search(rf"path /driver:/other:{tmp}/{folder}:\S*/lammd-gpu/lib\n", log(tmp, "card")), log(tmp, "card")
    assert "python has /driver:/other\n" in log(tmp, "plugin")


def test_library_path_with_cuda(tmp):
    check_library_path(tmp, "cuda/lib64", CUDA_HOME=tmp + "/cuda")


def test_library_path_with_pytorch(tmp):
    if CUDA_HERE:
        raise Skip("this machine has CUDA's own " + LT)
    check_library_path(tmp, "site/nvidia/cu13/lib", PYTHONPATH=tmp + "/site")


def test_no_cublaslt(tmp):
    other = tmp + "/cuda/lib64/libcublasLt.so.12"
    os.makedirs(os.path.dirname(other))
    open(other, "w").close()
    rc, _, text = report(tmp, "--part", "1", bundle(tmp, card=CARD.replace("cuBLASLt 130100", "own products")),
                         CUDA_HOME=tmp + "/cuda")
    assert rc == 1 and "FAILED" in text.splitlines()[0] and text.index("no cuBLASLt") < 300, text
    assert other in text
    assert status(text, "kernels") == "ok" and status(text, "picture") == "ok"  # the others go on


def test_slower_ways_are_told(tmp):
    """What a device notes is red, once, and the step is right all the same."""
    note = "cuda: device 0: 12288 x 4096 bf16: cuBLASLt failed"
    rc, said, text = report(tmp, "--part", "1", bundle(
        tmp, card=f"echo 'note: {note}'; " + CARD,
        lammd=f"echo '<4>time=2026-01-31T12:00:00.123Z event=device_note {note}' >&2\n" + PICTURE % ""))
    assert rc == 1 and said.count("RED") - text.count("RED") == 1, said
    assert text.count("**: " + note) == 1 and text.index(note) < 300 and status(text, "picture") == "ok", text


def test_card_of_24_gb(tmp):
    packed = bundle(tmp, card=CARD.replace("140000", "23000"))
    rc, said, text = report(tmp, packed)
    assert rc == 0, said
    for step in ("picture", "act", "profile", "fp8"):
        assert status(text, step) == "skipped: needs 32 GiB, the card has 22", text
    assert status(text, "mini-tile") == "ok" and status(text, "operations") == "ok"


def test_failing_tests(tmp):
    rc, said, text = report(tmp, "--part", "1", bundle(
        tmp, tests="echo 'FAIL gemm_is_right: exit status 1'; echo '2 passed, 1 failed, 0 skipped'; exit 1\n"))
    assert rc == 1 and "FAILED, 3 faults in 9 steps" in text.splitlines()[0], text
    assert text.index("FAIL gemm_is_right") < 500 and status(text, "kernels") == "FAILED (1)"
    assert "RED: kernels" in said and status(text, "picture") == "ok"


def test_tests_that_did_not_run(tmp):
    _, _, text = report(tmp, "--part", "1", bundle(tmp, tests="echo '0 passed, 0 failed, 80 skipped'\n"))
    assert "no test ran" in text and status(text, "kernels") == "NO TEST RAN", text


def test_out_of_time(tmp):
    """A step that is cut off shows what it had measured; the rest is not run; all ends in time."""
    start = time.time()
    rc, said, text = report(tmp, "--part", "1", bundle(tmp, lammd=PICTURE % "sleep 100"), BUDGET="9")
    assert time.time() - start < 30
    assert rc == 1 and "| 512 | 2934.0 (50 %) |" in text and "out of time" in text, text
    assert status(text, "picture") == "OUT OF TIME" and status(text, "act") == "not run"
    assert "act**: not run: no time left" in text and text in said


def wait_end(pid):
    """Ended, or waiting for a parent that asks."""
    for _ in range(50):
        try:
            if " Z " in open(f"/proc/{pid}/stat").read():
                return
        except FileNotFoundError:
            return
        time.sleep(0.1)
    raise AssertionError("the step goes on")


def test_told_to_end(tmp):
    packed = bundle(tmp, lammd=f"echo $$ >{tmp}/pid\n" + PICTURE % "sleep 100")
    p = subprocess.Popen(["sh", REPORT, "--part", "1", packed], stdout=subprocess.PIPE, text=True, cwd=tmp,
                         env=environment(tmp))
    for line in p.stdout:
        if line.startswith("== picture"):
            break
    while not os.path.exists(tmp + "/pid") or not open(tmp + "/pid").read():
        time.sleep(0.1)
    time.sleep(1)
    p.send_signal(signal.SIGTERM)
    said, _ = p.communicate(timeout=20)
    text = open(tmp + "/out/report.md").read()
    assert p.returncode == 1 and said.endswith(text), said
    assert "told to end" in text and "| 512 | 2934.0 (50 %) |" in text and status(text, "picture") == "ENDED"
    assert "cold job" in log(tmp, "picture") and os.listdir(tmp + "/tmp") == []
    wait_end(int(open(tmp + "/pid").read()))


def test_report_is_short(tmp):
    rows = "for i in $(seq 3000); do echo '| pass of 32 layers, 1 lanes | 1.0 | 1.0 .. 1.0 | 1.0 | 100.0 % |'; done\n"
    bench = 'case "$*" in\n*floors*) %s;;\n*) ' + rows.replace("%", "%%") + ";;\nesac\n"
    rc, _, text = report(tmp, "--part", "1", bundle(tmp, bench=bench))
    assert rc == 0 and len(text) <= 10000 and "the rest is in logs.tar.gz" in text
    assert log(tmp, "operations").count("pass of 32") == 3000


def test_floors_stream(tmp):
    """Each line comes when it is printed; the exit status is the command's."""
    script(tmp + "/slow",
           "echo '  whole mask, picture known  1400.0 ms   (1 .. 2)'\nsleep 3\nprintf 'the end'\nexit 7\n")
    p = subprocess.Popen(["sh", ROOT + "/tools/gpu/floors.sh", tmp + "/slow"], stdout=subprocess.PIPE, text=True,
                         env={**os.environ, "TFLOPS": "700", "GBS": "4000"})
    start = time.time()
    first = p.stdout.readline()
    assert time.time() - start < 2 and first.endswith("floor 700.0 ms, share 50 %\n"), first
    assert p.stdout.read() == "the end\n" and p.wait() == 7


def test_floors_of_an_act(tmp):
    """12.8 TFLOP and the decoder's weights five times; a p99 is held against it."""
    script(tmp + "/acts", "echo '  act, one frame known    60.0 ms   (1 .. 2)'\n"
           "echo '  act alone      p50   40.00 ms   p99   48.0 ms   most   99.00 ms   (40)'\n")
    out = subprocess.run(["sh", ROOT + "/tools/gpu/floors.sh", tmp + "/acts"], capture_output=True, text=True,
                         env={**os.environ, "TFLOPS": "1280", "GBS": "4642.857"}).stdout.splitlines()
    assert out[0].endswith("floor 24.0 ms, share 40 %") and out[1].endswith("floor 24.0 ms, share 50 %"), out


def test_pack_refuses(_):
    r = subprocess.run(["sh", ROOT + "/tools/gpu/pack.sh", "--what"], capture_output=True, text=True)
    assert r.returncode == 2 and "usage" in r.stderr


def test_what_a_packed_test_imports_is_packed(_):
    """tests/cuda/run.py runs from the bundle, with the modules of tests/ that it takes."""
    with open(ROOT + "/tests/cuda/run.py", encoding="utf-8") as f:
        modules = re.findall(r"^import (\w+)", f.read(), re.M)
    with open(ROOT + "/tools/gpu/pack.sh", encoding="utf-8") as f:
        packs = f.read()
    own = [m for m in modules if os.path.exists(f"{ROOT}/tests/{m}.py")]
    missing = [m for m in own if f'cp tests/{m}.py "$to/tests"' not in packs]
    assert own and not missing, (own, missing)


def test_shell_is_plain(_):
    scripts = [f"{ROOT}/tools/gpu/{n}" for n in sorted(os.listdir(ROOT + "/tools/gpu")) if n.endswith(".sh")]
    for s in scripts:
        subprocess.run(["sh", "-n", s], check=True)
    if not shutil.which("shellcheck"):
        raise Skip("shellcheck is not installed")
    r = subprocess.run(["shellcheck", "-x", *scripts], capture_output=True, text=True, cwd=ROOT)
    assert r.returncode == 0, r.stdout


def main():
    tests = {k[5:]: f for k, f in globals().items() if k.startswith("test_")}
    passed = failed = skipped = 0
    for name, test in tests.items():
        if sys.argv[1:] and not any(s in name for s in sys.argv[1:]):
            continue
        try:
            with tempfile.TemporaryDirectory() as tmp:
                test(tmp)
            passed += 1
        except Skip as e:
            print(f"skip: gpu {name}: {e}")
            skipped += 1
        except Exception:  # a test may fail in any way; the others still run
            traceback.print_exc()
            print(f"FAIL gpu {name}")
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
