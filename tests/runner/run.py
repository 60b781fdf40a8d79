#!/usr/bin/env python3
"""run.py - what runs the tests: tests/run.c on tests that end in every way there is (bad.c),
tests/total.sh on suites, and tools/deps.sh on machines that lack something.

    tests/runner/run.py [--long] [substring...]        CC names the compiler, gcc by default

Ends with `N passed, N failed`.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import suite  # noqa: E402

SOURCES = ["tests/run.c", "tests/check.c", "tests/runner/bad.c"]


class Runner:
    def __init__(self, folder):
        self.folder, self.program = folder, os.path.join(folder, "run-bad")
        cc = os.environ.get("CC", "gcc").split()
        subprocess.run([*cc, "-std=c11", "-D_GNU_SOURCE", "-I.", "-o", self.program, *SOURCES, "-lm"],
                       cwd=ROOT, check=True)

    def __call__(self, *words):
        done = subprocess.run([self.program, *words], capture_output=True, text=True, check=False)
        last = re.match(r"(\d+) passed, (\d+) failed, (\d+) skipped$", done.stdout.splitlines()[-1])
        counts = tuple(map(int, last.groups()))
        assert done.returncode == (counts[1] > 0), done
        return counts, done.stdout


def test_every_end_is_seen(run):
    counts, text = run("c_", "d_skip", "e_crash", "f_exit", "b_quick", "j_leaving")
    assert counts == (2, 9, 1), text
    for said in ("bad.c:27: c_failing: not so: 1 > 2", "c_unequal: 1 is 1, not 2 = 2", 'c_other_text: "a" is "a", not',
                 'c_no_part: "abc" is "abc", without "x"', "c_far: 1 is 1, not 1.3 = 1.3", "c_no_number: 1 is 1, not NAN",
                 "differ at byte 2 of 3: 63, not 64", "FAIL c_far: exit status 1", "FAIL f_exiting: exit status 3",
                 "skip: d_skipping: there is no moon", "FAIL e_crashing: Aborted"):
        assert said in text, (said, text)


def test_two_at_a_time_speak_in_order(run):
    for jobs in ("1", "2", "9"):
        counts, text = run("-j" + jobs, "a_slow", "b_quick", "c_fail", "d_skip", "e_crash", "f_exit")
        assert counts == (2, 3, 1), text
        words = re.findall(r"the \w+ one speaks|FAIL \w+|skip: \w+", text)
        assert words == ["the slow one speaks", "the quick one speaks", "FAIL c_failing", "skip: d_skipping",
                         "FAIL e_crashing", "FAIL f_exiting"], text


def test_too_much_processor_time_fails(run):
    counts, text = run("--limit", "1", "g_spin", "k_work", "l_working")
    assert counts == (1, 2, 0), text
    for name in ("g_spinning", "k_working"):
        assert f"FAIL {name}: still running after 1 s of processor time" in text, text


def test_waiting_for_ever_fails(run):
    counts, text = run("--idle", "2", "h_wait")
    assert counts == (0, 1, 0) and "FAIL h_waiting: has done nothing for 2 s" in text, text


def test_polling_for_ever_fails(run):
    for _ in range(suite.count(0, 1)):  # it takes twenty times its limit
        counts, text = run("--limit", "1", "i_poll")
        assert counts == (0, 1, 0) and "FAIL i_polling: still running after 20 s" in text, text


def test_a_busy_machine_fails_nothing(run):
    """On one core with four others that never rest, 1.5 s of work take 7; the limit is 2."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        begun = time.monotonic()
        counts, text = run("--limit", "2", "n_steady")
        assert counts == (1, 0, 0), text
        assert time.monotonic() - begun > 3, "the others did not keep it busy"
    finally:
        for b in busy:
            b.kill()
            b.wait()
        os.sched_setaffinity(0, cores)


def test_counts(run):
    assert "counted to 10\n" in run("m_count")[1]
    assert "counted to 1000\n" in run("--long", "m_count")[1]


def test_suites_are_added_up(_):
    suites = ("echo 4 passed, 0 failed", "echo 2 passed, 1 failed, 7 skipped; false", "echo 0 passed, 0 failed; false", "true")
    done = subprocess.run(["sh", "tests/total.sh", *suites], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout.endswith("\n7 skipped\n6 passed, 3 failed\n"), done


def test_suites_beside_each_other_are_told_whole(_):
    beside = ("for i in 1 2 3; do echo a; sleep 0.1; done; echo 1 passed, 0 failed",
              "for i in 1 2 3; do echo b; sleep 0.1; done; echo 1 passed, 1 failed; false")
    done = subprocess.run(["sh", "tests/total.sh", "echo 4 passed, 0 failed", "--", *beside], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 1 and done.stdout.endswith("\n6 passed, 1 failed\n"), done
    assert "a\na\na\n1 passed" in done.stdout and "b\nb\nb\n1 passed" in done.stdout, done


# ---- tools/deps.sh ----

# What stands for Debian's tools: packages are files in a folder, and only those in `shop` exist.
DPKG = """for p; do case $p in -*) ;; *) [ ! -e "$HAVE/$p" ] || printf '/%s installed/' "$p" ;; esac; done"""
APT = """echo "$*" >>"$HAVE/log"
case $* in *update*) exit ;; esac
for p; do case $p in -*|install) ;; *) [ -e "$SHOP/$p" ] || { echo "E: no $p" >&2; exit 100; } ;; esac; done
for p; do case $p in -*|install) ;; *) : >"$HAVE/$p" ;; esac; done"""


class Machine:
    """A PATH with nothing on it but what is given: {name: shell script}."""

    def __init__(self, folder, have=(), shop=(), **programs):
        self.env = {"PATH": folder + "/bin", "HAVE": folder + "/have", "SHOP": folder + "/shop", "CC": "nocc"}
        for name in ("bin", "have", "shop"):
            shutil.rmtree(f"{folder}/{name}", ignore_errors=True)
            os.mkdir(f"{folder}/{name}")
        for name in have:
            open(f"{folder}/have/{name}", "w").close()
        for name in shop:
            open(f"{folder}/shop/{name}", "w").close()
        os.symlink("/bin/sh", folder + "/bin/sh")
        os.symlink("/usr/bin/env", folder + "/bin/env")
        for name, script in programs.items():
            with open(f"{folder}/bin/" + name.replace("_", "-"), "w", encoding="utf-8") as f:
                f.write("#!/bin/sh\n" + script + "\n")
            os.chmod(f.name, 0o755)

    def deps(self, *words):
        """(exit status, what was said, what apt-get was called with)"""
        done = subprocess.run(["/bin/sh", ROOT + "/tools/deps.sh", *words], env=self.env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=False)
        log = self.env["HAVE"] + "/log"
        calls = open(log, encoding="utf-8").read().splitlines() if os.path.exists(log) else []
        return done.returncode, done.stdout + done.stderr, calls


DEBIAN = dict(dpkg_query=DPKG, apt_get=APT, id="echo 0")
ASKED = ("libpng-dev", "make", "--", "curl", "python3-pil")


def test_deps_of_a_whole_machine_cost_nothing(run):
    assert Machine(run.folder, have=ASKED, **DEBIAN).deps(*ASKED) == (0, "", [])
    # what is there by another way: a program, a header, a module
    m = Machine(run.folder, dpkg_query=DPKG, apt_get=APT, id="echo 0", make=":", curl=":", nocc=":", python3=":")
    assert m.deps(*ASKED) == (0, "", [])


def test_deps_installs_what_is_missing(run):
    code, said, calls = Machine(run.folder, have=["make"], shop=ASKED, **DEBIAN).deps(*ASKED)
    assert (code, said) == (0, "installing: libpng-dev curl python3-pil\n"), (code, said)
    assert calls == ["-qq install -y --no-install-recommends libpng-dev curl python3-pil"], calls
    m = Machine(run.folder, shop=ASKED, **{**DEBIAN, "id": "echo 1000"}, sudo='exec "$@"')
    assert m.deps(*ASKED)[0] == 0


def test_deps_goes_on_without_what_is_only_wanted(run):
    m = Machine(run.folder, have=["make"], shop=["libpng-dev", "curl"], **DEBIAN)
    code, said, calls = m.deps(*ASKED)  # all that can be had is installed
    assert code == 0 and "tests will be skipped (as root: apt-get install --no-install-recommends python3-pil)" in said, said
    assert "-qq update" in calls and os.path.exists(m.env["HAVE"] + "/curl")
    no_root = Machine(run.folder, have=["make", "libpng-dev"], shop=ASKED, **{**DEBIAN, "id": "echo 1000"})
    code, said, calls = no_root.deps(*ASKED)
    assert code == 0 and not calls and "skipped (as root: apt-get install --no-install-recommends curl python3-pil)" in said, said
    sudo_fails = Machine(run.folder, have=["make", "libpng-dev"], **{**DEBIAN, "id": "echo 1000"}, sudo="exit 1")
    assert sudo_fails.deps(*ASKED)[0] == 0


def test_deps_fails_without_what_is_needed(run):
    code, said, _ = Machine(run.folder, have=["make"], shop=["curl"], **DEBIAN).deps(*ASKED)
    assert code == 1 and "missing (as root: apt-get install --no-install-recommends libpng-dev)" in said, said
    elsewhere = Machine(run.folder, id="echo 0", make=":")
    code, said, _ = elsewhere.deps(*ASKED)
    assert code == 1 and "no Debian here" in said and "hold: libpng-dev)" in said, said


def main():
    wanted = sys.argv[1:]
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        run = Runner(folder)
        for name, test in [(n, f) for n, f in globals().items() if n.startswith("test_")]:
            if wanted and not any(w in name for w in wanted):
                continue
            try:
                test(run)
                passed += 1
            except Exception:  # whatever it is, it is a failure of this test
                failed += 1
                print(f"FAIL runner {name}\n{traceback.format_exc()}")
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
