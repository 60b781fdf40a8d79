#!/usr/bin/env python3
"""run.py - how lammd is installed, packed and run: make install, the manual pages, the completion
of bash, lammd.conf, make dist; and that docs/operations.md knows every event and metric.

    tests/package/run.py [substring...]

LAMMD names the program, TESTS the folder with the tests' programs: what `make` made is beside them.
tests/package/chroot.sh builds the Debian packages and tries them. Ends with `N passed, N failed`.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAMMD = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
TESTS = os.environ.get("TESTS", os.path.join(ROOT, "build/release/tests"))
MADE = os.path.join(TESTS, "../made")
OBJECTS = os.path.relpath(os.path.join(TESTS, "../.."), ROOT)
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, "tests")]
import suite  # noqa: E402,F401 (takes --long)


class Skip(Exception):
    pass


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def run(*words, **more):
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=more.pop("cwd", ROOT), **more)


def good(*words, **more):
    done = run(*words, **more)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def need(program):
    if not shutil.which(program):
        raise Skip(f"{program} is not installed")


def need_made():
    if not os.path.isdir(MADE):
        raise Skip("a build with a sanitizer makes no pages, and is not installed")


def make(*words, cwd=ROOT):
    """make, as if nobody had called it from another make."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return good("make", "-s", *words, cwd=cwd, env=env)


def files(folder):
    return sorted(os.path.relpath(os.path.join(at, f), folder) for at, _, some in os.walk(folder) for f in some)


# ---- make install ----

PLACES = ("prefix=/usr", "unitdir=/lib/systemd/system")
INSTALLED = """etc/lammd/lammd.conf lib/systemd/system/lammd.service lib/systemd/system/lammd.socket usr/bin/lammd
usr/share/bash-completion/completions/lammd usr/share/doc/lammd/LICENSE usr/share/doc/lammd/README.md
usr/share/doc/lammd/lammd-gpu.conf usr/share/doc/lammd/lammd.conf.example usr/share/doc/lammd/openapi.yaml
usr/share/man/man5/lammd.conf.5 usr/share/man/man8/lammd.8""".split()


def install(to, what="install"):
    """Of what is there: nothing is built."""
    need_made()
    beside = os.path.dirname(LAMMD)
    none = [f"{compiler}=" for plugin, compiler in (("lammd-cuda.so", "NVCC"), ("lammd-mpi.so", "MPICC"))
            if not os.path.exists(os.path.join(beside, plugin))]
    make("-o", "all", what, f"O={OBJECTS}", f"DESTDIR={to}", *none, *PLACES)


def test_install_brings_what_it_says():
    with tempfile.TemporaryDirectory() as to:
        install(to)
        there = files(to)
        rest = [f for f in there if f not in INSTALLED]
        assert [f for f in there if f in INSTALLED] == sorted(INSTALLED), there
        assert all(re.match(r"usr/(share/lammd/(models|recipes)/|share/doc/lammd/(docs/[\w-]+[.]md$|deploy/)|lib/lammd/lammd-(cuda|mpi)[.]so$)", f) for f in rest), rest
        for name in ("lib/systemd/system/lammd.service", "etc/lammd/lammd.conf", "usr/share/doc/lammd/lammd-gpu.conf"):
            assert not re.search(r"@[a-z]+dir@", read(to, name)), name
        assert "ExecStart=/usr/bin/lammd serve --config /etc/lammd/lammd.conf\n" in read(to, "lib/systemd/system/lammd.service")
        program, conf = os.path.join(to, "usr/bin/lammd"), os.path.join(to, "etc/lammd/lammd.conf")
        assert good(program, "serve", "--config", conf, "--check-config") == "lammd: the options are right\n"


def test_install_leaves_a_conf_that_is_there():
    with tempfile.TemporaryDirectory() as to:
        conf = os.path.join(to, "etc/lammd/lammd.conf")
        os.makedirs(os.path.dirname(conf))
        with open(conf, "w", encoding="utf-8") as f:
            f.write("threads = 1\n")
        install(to)
        assert read(conf) == "threads = 1\n"
        install(to, "uninstall")
        assert files(to) == ["etc/lammd/lammd.conf"], files(to)


# ---- lammd.conf ----

def test_a_wrong_line_keeps_it_from_starting():
    with tempfile.TemporaryDirectory() as folder:
        conf = os.path.join(folder, "lammd.conf")
        for text, said in (("thread = 2\n", f'{conf}:1: there is no option "thread"; did you mean "threads"?'),
                           ("\nthreads = two\n", f'{conf}:2: threads takes a whole number from 0 to 256, not "two"'),
                           ("jobs = 1\njobs = 1\n", f'{conf}:2: "jobs" stands here a second time')):
            with open(conf, "w", encoding="utf-8") as f:
                f.write(text)
            for more in ((), ("--check-config",)):
                done = run(LAMMD, "serve", "--config", conf, *more)
                assert done.returncode == 2 and said in done.stderr, done
        done = run(LAMMD, "serve", "--config", os.path.join(folder, "none"))
        assert done.returncode == 2 and "--config: " in done.stderr and "No such file" in done.stderr, done
        done = run(LAMMD, "serve", "--config", "-", "--check-config", input="threads = 2\n")
        assert done.returncode == 0, done


# ---- pages ----

def test_pages_are_sound():
    need_made()
    checkers = [c for c in (("mandoc", "-Tlint", "-Wwarning"), ("groff", "-ww", "-mandoc", "-Tutf8", "-z"))
                if shutil.which(c[0])]
    if not checkers:
        raise Skip("neither mandoc nor groff is installed")
    for page in ("lammd.8", "lammd.conf.5"):
        for checker in checkers:
            done = run(*checker, os.path.join(MADE, page))
            assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


def completed(*words):
    """What bash would offer for the last word."""
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lammd; printf "%s\\n" "${COMPREPLY[@]}"'
    return good("bash", "-c", script, "bash", os.path.join(MADE, "lammd"), "lammd", *words).split()


def test_completion():
    need_made()
    need("bash")
    assert completed("ser") == ["serve"]
    assert {"serve", "train", "help", "version"} <= set(completed(""))
    assert completed("help", "ad") == ["adapters"]
    assert completed("serve", "--kv-") == ["--kv-as", "--kv-tokens"]
    assert completed("serve", "--launcher", "") == ["local", "pull"]
    assert completed("serve", "--launcher", "=", "pu") == ["pull"]
    assert completed("serve", "--launcher", "=") == ["local", "pull"]
    assert completed("serve", "--threads", "") == []
    assert completed("serve", "--config", "systemd/lammd.c") == ["systemd/lammd.conf"]
    assert completed("serve", "--model", "model") == ["models"]
    assert completed("serve", "--weights-as", "int4") == ["int4", "int4x8"]
    assert completed("train", "recipes/ow") == ["recipes/own.ini"]
    assert completed("keys", "re") == ["revoke"]
    assert "segment" in completed("ask", "")
    assert completed("ask", "segment", "README") == ["README.md"]
    assert completed("nothing", "--") == []
    good("bash", "-n", os.path.join(MADE, "lammd"))


# ---- make dist ----

def test_dist_is_the_same_bytes_from_two_folders():
    need("git")
    git = ("git", "-c", "safe.directory=*")
    if run(*git, "rev-parse", "HEAD").returncode:
        raise Skip("this folder is no git repository")
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for name, mask in (("one", 0o022), ("another", 0o077)):
            at = os.path.join(folder, name)
            good(*git, "clone", "-q", "-n", "-s", ROOT, at)
            good(*git, "checkout", "-q", "HEAD", "--", "Makefile", "mk", "kernels/base", cwd=at)
            old = os.umask(mask)
            try:
                packed = make("dist", cwd=at).strip()
            finally:
                os.umask(old)
            with open(os.path.join(at, packed), "rb") as f:
                made.append((packed, f.read()))
    assert made[0] == made[1], [(name, len(data)) for name, data in made]
    assert len(made[0][1]) > 1 << 20, made[0][0]


# ---- packages ----

def test_packages_have_the_programs_version():
    version = re.search(r'LAMMD_VERSION "(.*)"', read("kernels/base/version.h")).group(1)
    assert re.match(rf"lammd [(]{re.escape(version)}[)] ", read("debian/changelog")), version
    needed = re.search(r"packages-build := (.*?)\n\n?p", read("mk/use.mk").replace("\\\n", " "), re.S).group(1).split()
    control, container = read("debian/control"), read("container/Containerfile")
    for package in needed:
        assert package in ("gcc", "libc6-dev", "make") or f" {package}" in control, package
        assert package in container, package


def test_what_a_container_is_told_is_right():
    done = good(LAMMD, "serve", "--config", "container/lammd.conf", "--check-config")
    assert done == "lammd: the options are right\n"
    text = read("container/Containerfile")
    assert re.search(r"^USER 10001$", text, re.M) and "HEALTHCHECK" in text
    for source in re.findall(r"^COPY (?!--from)(\S+) ", text, re.M):
        assert os.path.exists(os.path.join(ROOT, source)), source


# ---- docs/operations.md ----

def sources(*rooms):
    for room in rooms:
        for at, _, names in os.walk(os.path.join(ROOT, room)):
            yield from (os.path.join(at, n) for n in names if n.endswith(".c"))


def events_of_the_source():
    """{event: its levels}"""
    events = {}
    for path in sources("api", "batch", "cli", "data", "engine", "jobs", "kernels", "media", "server"):
        text = re.sub(r"/[*].*?[*]/", "", read(path), flags=re.S)
        calls = re.findall(r'\blog_(?:event|format)[(](?:&line,)?\s*([^";]*LOG_LEVEL[^";]*),'
                           r'\s*([^",;]*"\w+"(?:[^",;]*"\w+")?)\s*,', text)
        assert len(calls) == len(re.findall(r"\blog_event[(](?!enum)|\blog_format[(]&line, LOG", text)), path
        for level, event in calls:
            names, levels = re.findall(r'"(\w+)"', event), re.findall(r"LOG_LEVEL_(\w+)", level)
            for i, name in enumerate(names):
                both = len(names) == len(levels) > 1  # is_x ? A : B, is_x ? "a" : "b"
                events.setdefault(name, set()).update(w.lower() for w in (levels[i:i + 1] if both else levels))
    return events


def test_every_event_is_explained():
    told = {}
    for name, levels in re.findall(r"^[|] `(\w+)` [|] ((?:(?:error|warn|info|debug)(?:, )?)+) [|]", read("docs/operations.md"), re.M):
        told[name] = set(levels.split(", "))
    events = events_of_the_source()
    assert len(events) > 25, events
    events["request"].discard("debug")  # of what isn't loud; --verbose, as the table says
    assert told == events, {n: (told.get(n), events.get(n)) for n in told.keys() | events.keys() if told.get(n) != events.get(n)}


def test_metrics_that_are_named_exist():
    source = read("api/metrics.c")
    there = {f"lammd_{n}" for n in re.findall(r'\b(?:counter|counter_seconds|gauge|head)[(]b, "(\w+)"', source)}
    named = set(re.findall(r"\blammd_\w+", read("docs/operations.md")))
    assert len(named) > 10, named
    for name in named:
        assert re.sub(r"_(bucket|sum|count)$", "", name) in there or name in there, name


def main():
    tests = [(n, t) for n, t in sorted(globals().items()) if n.startswith("test_")]
    passed = failed = skipped = 0
    for name, test in tests:
        if sys.argv[1:] and not any(w in name for w in sys.argv[1:]):
            continue
        try:
            test()
            passed += 1
        except Skip as e:
            print(f"skip: {name}: {e}")
            skipped += 1
        except Exception:  # pylint: disable=broad-except
            traceback.print_exc()
            print(f"FAIL {name}")
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
