"""suite.py - what the Python suites share: how often a test tries, and how long it waits.

    import suite
    for i in range(suite.count(2, 200)):      2 in `make test`, 200 in `make test-long` (--long)
    suite.wait_for(lambda: server.is_idle())

A wait for what takes a moment ends after SOON seconds: on a busy machine a moment is long, and only
what never comes is a failure. Upper bounds of a test about time are as generous; what they tell
apart is "in its time" from "never". tests/check.h is the same for tests in C.
"""
import sys
import threading
import time

SOON = 300
IS_LONG = "--long" in sys.argv
if IS_LONG:
    sys.argv.remove("--long")


def count(few, full):
    return full if IS_LONG else few


def wait_for(true, seconds=SOON):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class Thread(threading.Thread):
    """A fault in it is its test's: whoever joins it gets what it raised."""

    fault = None

    def run(self):
        try:
            super().run()
        except BaseException as e:
            self.fault = e

    def join(self, timeout=None):
        super().join(timeout)
        if self.fault:
            raise self.fault
