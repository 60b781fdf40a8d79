"""test_games.py - tools/games against made-up games, roads, memories and a made-up server.

Run by run.py. The real games need packages that a plain machine does not have: those tests skip
aloud. No frame and no ROM of a game is stored here.
"""
import base64
import contextlib
import http.server
import importlib.util
import io
import json
import math
import os
import sys
import threading
import types
import unittest
import urllib.parse

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools/games"))
import client
import driver
import gunner
import match
import record
import rules


def raises(error, words, call, *args, **named):
    try:
        call(*args, **named)
    except error as e:
        assert words in str(e), e
    else:
        raise AssertionError(f"no {error.__name__} with {words!r}")


# ---- rules ----

def test_games_values(_):
    assert rules.to_values([-0.2, 0, 0]) == [8, 10, 10]  # the paper's example: a little to the left
    assert rules.to_values([1, 0.55, 0.6]) == [20, 16, 16]
    assert rules.to_values([-3, -3, 3]) == [0, 10, 20]
    for v in range(21):
        steering, gas, brake = rules.to_control([v, v, v])
        assert math.isclose(steering, (v - 10) / 10, abs_tol=1e-12)
        assert gas == brake == max(steering, 0)
        assert rules.to_values([steering, gas, brake]) == [v, max(v, 10), max(v, 10)]


def test_games_move(_):
    drive = {"action": {"steering": -0.2, "gas": 0.5, "brake": 0}}
    assert rules.move(rules.CAR, drive) == [-0.2, 0.5, 0.0]
    for i, name in enumerate(rules.ACTIONS):
        assert rules.move(rules.SPACE, {"action": {"name": name, "id": i}}) == i
    raises(ValueError, "not called", rules.move, rules.SPACE, {"action": {"name": "FIRE", "id": 2}})


# ---- the client, against a server that remembers what it was sent ----

class Fake(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        log = self.server.log
        log.append((self.command, self.path, self.headers.get("Content-Type"), body))
        path, _, query = self.path.partition("?")
        wish = dict(urllib.parse.parse_qsl(query))
        if self.headers.get("Content-Type") == "application/json":
            wish = json.loads(body)
        status, reply = self.server.reply(self.command, path, len(log), wish)
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            status, reply = 401, {"error": {"code": "unauthorized"}}
        if status is None:  # the answer is lost
            self.close_connection = True
            return
        text = json.dumps(reply).encode() if reply is not None else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


def replies(command, path, n, wish):
    """As lammd answers: sessions are numbered, every third act is late. That is an error, unless it
    has a default."""
    if command == "DELETE":
        return 204, None
    if path == "/v1/act/sessions":
        return 201, {"id": f"s{n}", "frames": 2}
    late = n % 3 == 0 and "deadline_ms" in wish
    if late and "default" not in wish:
        return 504, {"error": {"code": "deadline"}}
    return 200, {"action": {"steering": 0.3, "gas": 0.1, "brake": 0.0, "name": "LEFT", "id": 3},
                 "late": late}


@contextlib.contextmanager
def fake_server(reply=replies, key=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    server.log, server.reply, server.key, server.daemon_threads = [], reply, key, True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.log
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def frame(n, shape=(12, 10, 3)):
    return np.random.default_rng(n).integers(0, 256, shape, dtype=np.uint8)


def pixels(blob):
    return np.asarray(Image.open(io.BytesIO(blob)))


def test_games_session(_):
    with fake_server() as (url, log):
        player = client.Player(url, rules.CAR, deadline_ms=40)
        for _ in range(2):  # two rounds
            player.begin()
            for n in range(3):
                assert player.act(frame(n)) == [0.3, 0.1, 0.0]
        player.close()
    paths = [(c, urllib.parse.unquote_plus(p)) for c, p, _, _ in log]
    haste = '?deadline_ms=40&default={"steering": 0, "gas": 0, "brake": 0}'
    one = [("POST", "/v1/act/sessions"),
           *[("POST", f"/v1/act/sessions/s1{haste}&sequence={n}") for n in range(3)],
           ("DELETE", "/v1/act/sessions/s1")]
    assert paths == one + [(c, p.replace("s1", "s6")) for c, p in one], paths
    assert json.loads(log[0][3]) == {"game": "car_racing"}
    assert all(kind == "image/png" for _, _, kind, _ in log[1:4])
    assert all(np.array_equal(pixels(log[1 + n][3]), frame(n)) for n in range(3))
    assert len(player.latencies) == 6 and min(player.latencies) > 0
    assert player.late == sum(n % 3 == 0 for n in (2, 3, 4, 7, 8, 9)), player.late


def test_games_lost_answers(_):
    """A step is sent again under its number; what is refused for good is not."""
    def reply(command, path, n, wish):
        if n == 3:
            return None, None
        if n in (4, 6):
            return 409, {"error": {"code": "session_busy" if n == 4 else "step_is_old"}}
        return replies(command, path, n, wish)
    with fake_server(reply) as (url, log):
        player = client.Player(url, rules.CAR)
        player.begin()
        for n in range(2):
            assert player.act(frame(n)) == [0.3, 0.1, 0.0]
        raises(client.Refused, "step_is_old", player.act, frame(2))
        player.close()
    steps = [(urllib.parse.urlsplit(p).query, body) for c, p, _, body in log if "/s1" in p and c == "POST"]
    assert [query for query, _ in steps] == [f"sequence={n}" for n in (0, 1, 1, 1, 2)], steps
    assert all(np.array_equal(pixels(body), frame(1)) for _, body in steps[1:4])
    pauses, client.PAUSES = client.PAUSES, (0.01, 0.01)
    try:
        with fake_server(lambda command, path, n, wish: (None, None) if n > 1 else (201, {"id": "s1"})) as (url, log):
            player = client.Player(url, rules.CAR)
            player.begin()
            lost = (OSError, client.http.client.HTTPException)
            raises(lost, "", player.act, frame(0))  # not for ever
            assert len(log) == 4
            player.wire.close()
    finally:
        client.PAUSES = pauses


def test_games_key(_):
    with fake_server(key="lammd_abcd_0") as (url, _):
        stranger = client.Player(url, rules.CAR, key="lammd_abcd_1")
        raises(client.Refused, "401", stranger.begin)
        stranger.close()
        os.environ["LAMMD_KEY"] = "lammd_abcd_0"
        try:
            for player in (client.Player(url, rules.CAR), client.Player(url, rules.CAR, key="lammd_abcd_0")):
                player.begin()
                assert player.act(frame(1)) == [0.3, 0.1, 0.0]
                player.close()
        finally:
            del os.environ["LAMMD_KEY"]


def test_games_one_shot(_):
    with fake_server() as (url, log):
        player = client.Player(url + "/", rules.SPACE, one_shot=True, deadline_ms=1)
        for n in range(6):
            if n in (0, 5):
                player.begin()
            assert player.act(frame(n)) == 3
        player.close()
    assert [(c, p) for c, p, _, _ in log] == [("POST", "/v1/act")] * 6
    sent = [json.loads(body) for _, _, _, body in log]
    assert all(s["game"] == "space_invaders" and s["deadline_ms"] == 1 and s["default"] == "NOOP" for s in sent)
    assert player.late == 2
    head = "data:image/png;base64,"
    got = [[pixels(base64.b64decode(f.removeprefix(head))) for f in s["frames"]] for s in sent]
    for frames, want in zip(got, [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 2), (0, 1, 2, 3),
                                  (1, 2, 3, 4), (5, 5, 5, 5)]):
        assert all(np.array_equal(f, frame(n)) for f, n in zip(frames, want, strict=True)), want


def test_games_refusals(_):
    def reply(command, path, n, wish):
        return 503, {"error": {"code": "overloaded", "message": "the queue is full"}}
    with fake_server(reply) as (url, _):
        player = client.Player(url, rules.CAR)
        raises(client.Refused, "503", player.begin)
        raises(client.Refused, "the queue is full", player.begin)
        player.close()  # no session was made, none is ended
    for address in ("https://localhost", "ftp://a", "http://"):
        raises(ValueError, "not an http:// address", client.Player, address, rules.CAR)
    assert client.Player("localhost:81", rules.CAR).wire.port == 81


# ---- matches ----

class Toy:
    """Ends after `seed` + 2 steps; pays the action."""
    game, title, habit = rules.SPACE, "a toy", 2

    def __init__(self):
        self.log = []

    def reset(self, seed):
        self.left = seed + 2
        self.log.append((seed, self.drawn))
        return frame(seed)

    def step(self, action):
        self.left -= 1
        return frame(self.left), action, self.left == 0

    def random(self, rng):
        return int(rng.integers(3))

    def expert(self):
        return types.SimpleNamespace(act=lambda: 5, notes=lambda f: {"things": f[0, :2]})


def test_games_match(tmp):
    def go(*args, toy=None):
        out, o = io.StringIO(), match.options("").parse_args(["--quiet", *args])
        with contextlib.redirect_stdout(out):
            match.main(toy or Toy(), o, {"sticky": 0.5})
        return out.getvalue()
    toy = Toy()
    with fake_server() as (url, log):
        text = go("--rounds", "3", "--server", url, "--json", tmp + "/a.json", toy=toy)
        assert sum(c == "DELETE" for c, _, _, _ in log) == 3  # no session is left behind
    assert toy.log == [(s, drawn) for drawn in (False, False, False, True) for s in range(3)]
    with open(tmp + "/a.json", encoding="utf-8") as f:
        result = json.load(f)
    expert, served = result["players"]["expert"], result["players"]["lammd"]
    assert [r["reward"] for r in expert["rounds"]] == [10, 15, 20]
    assert (expert["mean"], expert["sd"], expert["min"], expert["max"]) == (15, 5, 10, 20)
    assert (served["mean"], served["steps"]) == (9, 3) and result["latency"]["acts"] == 9
    assert result["seeds"] == [0, 1, 2] and result["sticky"] == 0.5
    lines = text.splitlines()
    assert lines[0] == "a toy: seeds 0-2" and "232.67" in text and "9 acts: median" in text, text
    assert lines[3].split()[:2] == ["habit", "6.0"], lines
    assert lines[4].split() == ["expert", "15.0", "5.0", "10.0", "20.0", "3.0"], lines
    # the baselines of those rounds stand in for playing them again; of others they do not
    again = go("--rounds", "3", "--baselines", tmp + "/a.json")
    assert lines[4] + "  (measured before)" in again and "lammd" not in again, again
    raises(SystemExit, "not the same rounds", go, "--rounds", "2", "--baselines", tmp + "/a.json")
    raises(SystemExit, "not the same rounds", go, "--rounds", "3", "--steps", "2", "--baselines",
           tmp + "/a.json")
    cut = go("--rounds", "1", "--steps", "1", "--players", "expert")
    assert "seeds 0-0, at most 1 steps" in cut and cut.splitlines()[2].split()[1] == "5.0", cut
    raises(SystemExit, "/nowhere", go, "--baselines", tmp + "/nowhere")
    with fake_server(lambda *_: (404, {"error": {"message": "no such thing"}})) as (url, _):
        raises(SystemExit, "no such thing", go, "--rounds", "1", "--server", url)
    raises(SystemExit, "refused", go, "--rounds", "1", "--server", url)  # it has ended
    raises(SystemExit, "not an http", go, "--rounds", "1", "--server", "https://x")
    raises(SystemExit, "--rounds", go, "--rounds", "16")
    raises(SystemExit, "only random, habit, expert", go, "--players", "random,me")


def test_games_random_is_the_same_again(_):
    rounds = [match.run(Toy(), {"random": match.Random(Toy())}, range(9), say=str) for _ in "ab"]
    assert rounds[0] == rounds[1]
    assert len({r["reward"] for r in rounds[0]["random"]["rounds"]}) > 2


# ---- the driver, on a road of our own ----

def car_on(road, place, angle, velocity=(0, 0), turning=0.0):
    """An env whose car stands on a road [(x, y)]; angle 0 looks along y, left is positive."""
    hull = types.SimpleNamespace(position=place, linearVelocity=velocity, angle=angle,
                                 angularVelocity=turning)
    game = types.SimpleNamespace(car=types.SimpleNamespace(hull=hull),
                                 track=[(0, 0, x, y) for x, y in road])
    return types.SimpleNamespace(unwrapped=game)


def ring(radius=100.0):
    n = round(2 * math.pi * radius / 3.5)
    turn = np.arange(n) * 2 * math.pi / n
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1)  # left turns only


def test_games_bend_radius(_):
    for radius in (20.0, 100.0):
        assert np.allclose(driver.bend_radius(ring(radius)), radius, rtol=1e-6)


def test_games_driver_steers_back(_):
    road = ring()
    middle = driver.Driver(car_on(road, (100, 0), 0.0)).act()
    outside = driver.Driver(car_on(road, (104, 0), 0.0)).act()
    inside = driver.Driver(car_on(road, (94, 0), 0.0)).act()
    assert outside[0] < middle[0] < 0 < inside[0], (outside, middle, inside)
    assert middle[1] > 0 and middle[2] == 0  # it stands: gas
    turning = driver.Driver(car_on(road, (100, 0), 0.0, turning=2.0)).act()
    assert turning[0] > middle[0]  # already turning left: less of it


def test_games_driver_pedals(_):
    wide, narrow = ring(200.0), ring(15.0)
    at = {"wide": (wide, (200, 0)), "narrow": (narrow, (15, 0))}
    for name, speed, gas, brake in (("wide", 40, True, False), ("wide", 90, False, True),
                                    ("narrow", 20, True, False), ("narrow", 55, False, True)):
        road, place = at[name]
        control = driver.Driver(car_on(road, place, 0.0, (0, speed))).act()
        assert (control[1] > 0, control[2] > 0) == (gas, brake), (name, speed, control)
        assert control[1] <= driver.GAS and control[2] <= driver.BRAKE
    sliding = driver.Driver(car_on(wide, (200, 0), -1.2, (0, 40))).act()
    assert sliding[1] == 0 and 0 < sliding[2] <= driver.SLIDE_BRAKE, sliding
    straight, slipping = (driver.Driver(car_on(wide, (200, 0), 0.0)).pedals(-10, 40, slip, 0)
                          for slip in (0, 0.25))
    assert slipping[0] == straight[0] / 2 > 0
    backwards = driver.Driver(car_on(wide, (200, 0), math.pi, (0, -10))).act()
    assert abs(backwards[0]) == 1 and backwards[1] > 0, backwards


def test_games_driver_brakes_in_time(_):
    """The nearer a bend, the slower; a bend out of sight is none."""
    bend = ring(15.0)
    straight = np.stack([np.full(40, 15.0), np.arange(-40, 0) * 3.5], 1)
    script = driver.Driver(car_on(np.concatenate([straight, bend]), (15, 0), 0.0))
    speeds = [script.target_speed(40 - tiles) for tiles in (1, 3, 5, 12)]
    assert speeds == sorted(speeds) and len(set(speeds)) == 4, speeds
    assert speeds[-1] == driver.TOP_SPEED, speeds


def test_games_driver_looks_everywhere_when_thrown_off(_):
    road = ring(100.0)
    script = driver.Driver(car_on(road, (-100, 0), math.pi))
    assert abs(script.nearest(np.array([-100.0, 0.0])) - len(road) // 2) <= 1


# ---- the gunner, on a memory of our own ----

def memory(cannon=70, bombs=(), saucer=0, block=40, columns=range(6), dropped=0):
    ram = [0] * 128
    ram[gunner.CANNON_X], ram[gunner.SAUCER_X] = cannon, saucer
    ram[gunner.BLOCK_X], ram[gunner.DROPPED] = block, dropped
    for at in gunner.ROWS:
        ram[at] = sum(1 << c for c in columns)
    for k, (y, x) in enumerate(gunner.BOMBS):
        ram[y], ram[x] = bombs[k] if k < len(bombs) else (gunner.NONE, 63)
    return ram


def test_games_gunner_dodges(_):
    def way(**state):
        return gunner.Gunner().act(memory(columns=[], **state))
    assert way() == gunner.FIRE  # nothing to flee from, nothing to hit
    assert way(bombs=[(80, 71)]) == gunner.RIGHTFIRE  # falls on its left half
    assert way(bombs=[(80, 77)]) == gunner.LEFTFIRE
    assert way(bombs=[(80, 50)]) == gunner.FIRE
    assert way(bombs=[(80, 77), (80, 60)]) == gunner.LEFTFIRE  # between the two, just
    assert way(cannon=gunner.MIN_X, bombs=[(78, gunner.MIN_X + 1)]) == gunner.RIGHTFIRE  # the wall


def test_games_gunner_aims(_):
    for cannon, want in ((60, gunner.LEFTFIRE), (40, gunner.FIRE), (36, gunner.RIGHTFIRE)):
        got = gunner.Gunner().act(memory(cannon=cannon, columns=[0], block=40))
        assert got == want, (cannon, got)
    # a block on its way to the right is met farther right
    chaser = gunner.Gunner()
    got = [chaser.act(memory(cannon=40, columns=[0], block=x)) for x in range(31, 42)][-1]
    assert got == gunner.RIGHTFIRE, got
    # the saucer goes before an invader that is right above
    hunter = gunner.Gunner()
    got = [hunter.act(memory(cannon=40, columns=[0], block=40, saucer=x)) for x in (10, 11, 0)]
    assert got == [gunner.FIRE, gunner.LEFTFIRE, gunner.FIRE], got  # its way has to be seen first


def test_games_block_speed(_):
    block = gunner.Block()
    assert [block.speed(x) for x in (40, 40, 41)] == [0, 0, 0.5]
    for x in (42, 43, 44, 45):
        right = block.speed(x)
    assert right > 0 and block.speed(44) < 0  # it turned
    assert block.speed(20) == 0  # a new wave


# ---- the recorder ----

def test_games_noise_share(_):
    for share, mean in ((0.1, 1.5), (0.3, 6), (0.5, 3)):
        bursts = record.Bursts(np.random.default_rng(1), [share], [mean])
        noisy = np.mean([bursts.now() > 0 for _ in range(40000)])
        assert abs(noisy - share) < 0.1 * share + 0.02, (share, mean, noisy)
    quiet = record.SpaceNoise(np.random.default_rng(0))
    quiet.bursts = record.Bursts(np.random.default_rng(0), [0], [4])
    assert all(quiet(a % 6, None) == a % 6 for a in range(200))
    noise = record.CarNoise(np.random.default_rng(3))
    done = [noise([0.1, 0.2, 0.0], None) for _ in range(3000)]
    assert any(d != [0.1, 0.2, 0.0] for d in done) and any(d == [0.1, 0.2, 0.0] for d in done)
    assert all(-1 <= d[0] <= 1 and 0 <= d[1] <= 1 and 0 <= d[2] <= 1 for d in done)


def test_games_episode(tmp):
    toy = Toy()
    drawn = []
    step = toy.step
    toy.step = lambda action: drawn.append(toy.drawn) or step(action)
    rows = list(record.episode(toy, 10000, (3, 10), lambda rng: lambda action, _: action))
    steps = [s for _, _, _, s, _ in rows]
    assert len(rows) in (1200, 1201) and {label for _, label, _, _, _ in rows} == {5}
    starts = [s for s in steps if s - 1 not in steps][1:]  # the first run may begin before step 0
    assert set(np.diff(starts)) == {10}
    assert all({s + 1, s + 2} < set(steps) for s in starts[:-1])
    assert max(steps) < record.MOST_STEPS == len(drawn)
    short = record.episode(Toy(), 10000, (3, 10), lambda rng: lambda action, _: action, most=50)
    assert [row[3] for row in short] == [s for s in steps if s < 50]
    # what is kept is drawn, and nothing else: the first by reset, the one after the end in vain
    assert [s for s, on in enumerate(drawn, 1) if on and s < len(drawn)] == [s for s in steps if s]
    with contextlib.redirect_stdout(io.StringIO()):
        record.save(tmp + "/x.npz", rows[:7])
    kept = np.load(tmp + "/x.npz")
    assert kept["frames"].shape == (7, 12, 10, 3) and kept["frames"].dtype == np.uint8
    assert np.array_equal(kept["frames"][2], rows[2][0]) and list(kept["step"]) == steps[:7]
    assert np.array_equal(kept["things"][2], rows[2][0][0, :2])  # the expert's notes
    assert set(kept["episode"]) == {10000} and os.listdir(tmp) == ["x.npz"]


def test_games_learner(_):
    """By turns with the expert, but the model sees every frame."""
    player = types.SimpleNamespace(begin=lambda: None, act=lambda f: 9)
    learner = record.Learner(np.random.default_rng(0), player)
    done = [learner(1, None) for _ in range(record.STRETCH * 40)]
    turns = np.reshape(done, (40, record.STRETCH))
    assert (turns == turns[:, :1]).all() and 8 < (turns[:, 0] == 9).sum() < 32


def test_games_reserved_seeds(_):
    argv, sys.argv = sys.argv, ["record.py", "car", "--out", "x", "--seed", "14"]
    try:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            raises(SystemExit, "2", record.options)
        assert "reserved" in said.getvalue()
    finally:
        sys.argv = argv


# ---- the real games, where their packages are ----

def need(*packages):
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise unittest.SkipTest(f"{name} is not installed: tools/games/README.md")


def beats_random(table, most):
    players = {"random": match.Random(table), "expert": match.Expert(table)}
    result = match.run(table, players, [20000, 20001], most, say=str)
    assert result["expert"]["mean"] > result["random"]["mean"] + 100, result
    with fake_server() as (url, log):
        player = client.Player(url, table.game)
        match.play(table, match.Served(player), 20000, 3)
        player.close()
        return [pixels(body) for _, _, kind, body in log if kind == "image/png"]


def test_games_real_car(_):
    need("gymnasium", "Box2D", "pygame")
    import car
    frames = beats_random(car.Race(), 300)
    assert [f.shape for f in frames] == [(96, 96, 3)] * 3 and frames[2].std() > 10


def test_games_real_space(_):
    need("ale_py")
    import space
    frames = beats_random(space.Invasion(), 1000)
    assert [f.shape for f in frames] == [(210, 160, 3)] * 3 and frames[2].std() > 10
