#!/usr/bin/env python3
"""run.py - the program as its users meet it: started, asked over HTTP, and stopped.

    tests/http/run.py [--long] [substring]        LAMMD names the program, ./lammd by default

Every test_*.py beside it is a group; every function test_* in it is a test. A test that takes an
argument gets the group's server. One that raises lamm.Skip misses something. Ends with `N passed,
N failed, N skipped`.
"""
import glob
import importlib
import inspect
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import suite  # noqa: E402, F401 (takes --long)


def spent(server):
    """Seconds of processor time: of this process, children that ended, and the group's server."""
    seconds = sum(os.times()[:4])
    if server and server.process.poll() is None:
        with open(f"/proc/{server.process.pid}/stat") as f:
            seconds += sum(map(int, f.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")
    return seconds


def run_group(name, wanted):
    module = importlib.import_module(name)
    tests = [(n, f) for n, f in vars(module).items()
             if n.startswith("test_") and callable(f) and (wanted in n or wanted in name)]
    passed = failed = skipped = 0
    server = None
    try:
        for test_name, test in tests:
            start, before, said = time.monotonic(), spent(server), "FAIL"
            try:
                if inspect.signature(test).parameters:
                    server = server or module.start()
                    test(server)
                else:
                    test()
                passed += 1
                said = "ok  "
            except lamm.Skip as e:
                skipped += 1
                said = "skip"
                print(f"skip: {name}.{test_name}: {e}")
            except Exception:
                failed += 1
                print(f"FAIL {name}.{test_name}\n{traceback.format_exc()}")
            if time.monotonic() - start > 5:
                print(f"{said} {test_name} ({time.monotonic() - start:.1f} s, {spent(server) - before:.1f} s of processor time)")
        if server and server.end() != 0:
            raise AssertionError("the server's exit status is not 0\n" + server.log()[-3000:])
    except Exception:
        failed += 1
        print(f"FAIL {name}: the end of its server\n{traceback.format_exc()}")
    return passed, failed, skipped


def main():
    try:
        import jsonschema  # noqa: F401
        import PIL  # noqa: F401
        import yaml  # noqa: F401
    except ImportError as e:
        print(f"skip: {e}; apt-get install python3-jsonschema python3-yaml python3-pil\n"
              "0 passed, 0 failed, 1 skipped")
        return 0
    global lamm
    import lamm  # it needs what was tried above
    wanted = (sys.argv[1:] + [""])[0]
    groups = sorted(os.path.basename(f)[:-3] for f in glob.glob(os.path.join(HERE, "test_*.py")))
    # The contract asks what the others have seen, so it comes last.
    groups.sort(key=lambda g: g == "test_openapi")
    results = [run_group(g, wanted) for g in groups]
    passed, failed, skipped = (sum(r[i] for r in results) for i in range(3))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
