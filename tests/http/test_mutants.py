"""test_mutants.py - requests that went wrong on their way, whole, against a server that is running.

Good requests of every kind are cut, mixed, repeated and lied in, and sent as they are. Whatever a
request has become, it is answered below 500, or with 503 or 505, or not at all; the process stays
the same and sound, and nothing of the request stays behind. The n-th mutant is always the same one.
"""
import collections
import concurrent.futures
import random
import re

import photos
from lamm import JSON, PNG, Server
from mix import is_quiet, raw, requests
from suite import count, wait_for

NUMBERS = (b"0", b"-1", b"1", b"65", b"255", b"256", b"2147483648", b"4294967296", b"18446744073709551616", b"1e999", b"NaN", b"0x10")
WORDS = (b"\r\n", b"\n", b"\r\n\r\n", b"\0", b"\xff", b'"', b"{", b"}", b"[", b"]", b"\\u0000", b"\\ud800", b"null", b"<s>", b"</Img>",
         b"%00", b"%", b"&", b"--xyzzy", b"--xyzzy--\r\n", b"chunked", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n",
         b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n", b"Accept: */*;q=0\r\n", b"Host: \r\n", b"data:image/png;base64,")


def span(rng, data, most=64):
    start = rng.randrange(len(data))
    return start, min(len(data), start + 1 + rng.randrange(most))


def flip(rng, data, _):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1:]


def drop(rng, data, _):
    start, end = span(rng, data)
    return data[:start] + data[end:]


def repeat(rng, data, _):
    start, end = span(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 2, 50)) + data[end:]


def insert(rng, data, _):
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(WORDS) + data[at:]


def cut(rng, data, _):
    return data[:rng.randrange(1, len(data) + 1)]


def renumber(rng, data, _):
    found = list(re.finditer(rb"\d+", data[:4000]))
    if not found:
        return data
    at = rng.choice(found)
    return data[:at.start()] + rng.choice(NUMBERS) + data[at.end():]


def reorder(rng, data, _):
    lines = data.split(b"\r\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], rng.choice((lines[a], lines[b]))
    return b"\r\n".join(lines)


def cross(rng, data, other):
    return data[:rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)):]


def follow(rng, data, other):
    return data + other


MUTATORS = (flip, drop, repeat, insert, cut, renumber, reorder, cross, follow)


def honest_length(data):
    """The same with the length that the body has now: so that mutants of bodies are read at all."""
    head, end, body = data.partition(b"\r\n\r\n")
    return re.sub(rb"(?i)content-length:[^\r]*", b"Content-Length: %d" % len(body), head) + end + body


def chunked(data):
    head, _, body = data.partition(b"\r\n\r\n")
    head = re.sub(rb"Content-Length:[^\r]*", b"Transfer-Encoding: chunked", head)
    half = len(body) // 2
    return head + b"\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (half, body[:half], len(body) - half, body[half:])


def seeds():
    picture, nobody = photos.png(0, 24, 18), "0" * 32
    more = [("PUT", "/v1/images", picture, PNG), ("GET", f"/v1/images/{nobody * 2}", None, {}), ("DELETE", f"/v1/images/{nobody * 2}", None, {}),
            ("POST", "/v1/act/sessions?game=car_racing", b"", {}), ("POST", f"/v1/act/sessions/{nobody}", picture, PNG),
            ("POST", "/v1/reconstruct?width=4", photos.jpeg(), {"Content-Type": "image/jpeg"}),
            ("POST", "/v1/segment", b'{"image":{"id":"%s"},"sentences":["a","b"],"format":"rle"}' % (nobody * 2).encode(), JSON),
            ("GET", "/ui/app.js", None, {"If-None-Match": '"x"'}), ("HEAD", "/", None, {}), ("GET", "/metrics", None, {})]
    whole = [raw(*r, "Connection: close") for r in requests(2) + more]
    return whole + [chunked(data) for data in whole if b"Content-Length" in data and not data.endswith(b"\r\n\r\n")]


def mutant(number, pool):
    rng = random.Random(number)
    data = rng.choice(pool)
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(MUTATORS)(rng, data, rng.choice(pool)) or b"\n"
    return honest_length(data) if rng.random() < 0.6 else data


def test_mutated_requests():
    """No mutant is an error of the server, none restarts it, none leaves work or memory behind."""
    pool, total, seen = seeds(), count(400, 20_000), collections.Counter()
    with Server("--header-timeout=2", "--body-timeout=2", "--idle-timeout=2") as s, \
            concurrent.futures.ThreadPoolExecutor(64) as crowd:
        for number, (got, _) in enumerate(crowd.map(lambda n: s.raw(mutant(n, pool)), range(total))):
            statuses = re.findall(rb"HTTP/1\.[01] (\d{3}) ", got)
            seen.update(statuses or [b"none"])
            bad = [x for x in statuses if x >= b"500" and x not in (b"503", b"505")]
            assert not bad and b'"status":500' not in got, (number, bad, mutant(number, pool)[:2000], got[:2000])
        assert s.process.poll() is None, s.log()[-3000:]
        wait_for(lambda: is_quiet(s))
        print(f"note: {total} mutants:", ", ".join(f"{n} x {status.decode()}" for status, n in seen.most_common()))
        assert seen[b"200"] and seen[b"400"]  # some are still good
        assert s.ask("POST", "/v1/reconstruct?width=2&height=2", photos.png(), PNG).status == 200
