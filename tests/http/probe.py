#!/usr/bin/env python3
"""probe.py - how long does GET /livez take, again and again over one connection?

    probe.py PORT       until its input ends; prints p50, p99 and max. Fails if an answer isn't 200.
"""
import select
import socket
import sys
import time


def main():
    times = []
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=300) as c:
        while not times or not select.select([sys.stdin], [], [], 0.01)[0]:
            start = time.monotonic()
            c.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            got = c.recv(4096)
            times.append((time.monotonic() - start) * 1000)
            if not got.startswith(b"HTTP/1.1 200 "):
                print(f"no 200 but {got[:80]}")
                return 1
    times.sort()
    p50, p99 = (times[int(q * (len(times) - 1))] for q in (0.5, 0.99))
    print(f"/livez {len(times)} times: p50 {p50:.1f}, p99 {p99:.1f}, max {times[-1]:.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
