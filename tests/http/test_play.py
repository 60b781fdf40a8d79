"""test_play.py - acting: frames at once, sessions, deadlines."""
import contextlib
import http.client
import io
import json
import select

import photos
from lamm import JSON, PNG, TINY, Server, data_url, multipart
from suite import SOON, Thread, wait_for

FRAMES = [photos.png(i, 96, 96) for i in range(6)]
NAMES = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]


def start():
    return Server()


def act(s, game, frames, **fields):
    return s.ask("POST", "/v1/act", json.dumps({"game": game, "frames": [data_url(f) for f in frames], **fields}), JSON)


def begin(s, game):
    reply = s.ask("POST", "/v1/act/sessions", json.dumps({"game": game}), JSON)
    assert reply.status == 201 and reply.headers["Location"] == "/v1/act/sessions/" + reply.json()["id"]
    return reply.headers["Location"]


def same(a, b):
    a, b = a.json(), b.json()
    return (a["action"], a["values"], a["text"]) == (b["action"], b["values"], b["text"])


def test_car_racing(s):
    reply = act(s, "car_racing", FRAMES[:2], probability=True)
    got = reply.json()
    v = got["values"]
    assert got["text"] == "[{},{},{}]".format(*v) and got["late"] is False and 0 < got["probability"] <= 1
    assert got["action"] == {"steering": round(v[0] / 10 - 1, 4), "gas": max(0, round(v[1] / 10 - 1, 4)),
                             "brake": max(0, round(v[2] / 10 - 1, 4))}
    form = s.ask("POST", "/v1/act", *multipart(("game", "car_racing"), ("frame", FRAMES[0]), ("frame", FRAMES[1])))
    assert same(form, reply)


def test_space_invaders(s):
    got = act(s, "space_invaders", FRAMES[:4]).json()
    assert got["action"] == {"id": got["values"][0], "name": NAMES[got["values"][0]]}
    assert got["text"] == str(got["values"][0])
    form = s.ask("POST", "/v1/act", *multipart(("game", "space_invaders"), *[("frame", f) for f in FRAMES[:4]]))
    assert form.json()["text"] == got["text"]


def test_a_session_says_what_its_frames_say(s):
    for game, need in (("car_racing", 2), ("space_invaders", 4)):
        at = begin(s, game)
        for i, frame in enumerate(FRAMES):
            seen = [FRAMES[max(0, i - need + 1 + k)] for k in range(need)]
            if i % 3 == 0:
                step = s.ask("POST", at, frame, PNG)
            elif i % 3 == 1:
                step = s.ask("POST", at, json.dumps({"frame": data_url(frame), "deadline_ms": 60000}), JSON)
            else:
                step = s.ask("POST", at, *multipart(("frame", frame)))
            assert step.status == 200 and same(step, act(s, game, seen)), f"{game}, step {i}"
        assert s.ask("DELETE", at).status == 204
        assert s.ask("DELETE", at).code == "session_not_found"
        assert s.ask("POST", at, FRAMES[0], PNG).code == "session_not_found"


def test_a_missed_deadline_gives_the_default(s):
    """One millisecond is over before the pictures are even decoded."""
    default = {"steering": -0.25, "gas": 0.5, "brake": 0}
    got = act(s, "car_racing", FRAMES[:2], deadline_ms=1, default=default).json()
    assert got["late"] and got["action"] == default and got["values"] is None and got["text"] is None
    assert act(s, "space_invaders", FRAMES[:4], deadline_ms=1, default="FIRE").json()["action"] == {"id": 1, "name": "FIRE"}
    reply = act(s, "car_racing", FRAMES[:2], deadline_ms=1)
    assert (reply.status, reply.code) == (504, "deadline")
    at = begin(s, "car_racing")
    assert s.ask("POST", at + "?deadline_ms=1", FRAMES[0], PNG).code == "deadline"
    late = s.ask("POST", at, *multipart(("frame", FRAMES[0]), ("deadline_ms", "1"), ("default", json.dumps(default))))
    assert late.json()["late"] and late.json()["action"] == default
    assert not act(s, "car_racing", FRAMES[:2], deadline_ms=60000, default=default).json()["late"]


def test_one_step_at_a_time(s):
    """Many at once: each is answered or told to wait, and at least one of each is seen."""
    at, codes = begin(s, "car_racing"), []
    for _ in range(20):
        threads = [Thread(target=lambda f=f: codes.append(s.ask("POST", at, f, PNG).status)) for f in FRAMES]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if {200, 409} <= set(codes):
            break
    assert set(codes) == {200, 409}, codes
    assert s.ask("POST", at, FRAMES[0], PNG).status == 200


def test_a_step_sent_again_counts_once(s):
    """As a client does that lost the answer: without a number the frame counts twice."""
    for form in ("query", "form", "json"):
        at, plain = begin(s, "space_invaders"), begin(s, "space_invaders")

        def step(number, frame):
            if form == "query":
                return s.ask("POST", f"{at}?sequence={number}", frame, PNG)
            if form == "form":
                return s.ask("POST", at, *multipart(("frame", frame), ("sequence", str(number))))
            return s.ask("POST", at, json.dumps({"frame": data_url(frame), "sequence": number}), JSON)
        for i, frame in enumerate(FRAMES):
            first = step(10 * i, frame)
            again = step(10 * i, FRAMES[-1])
            assert first.status == again.status == 200 and first.body == again.body
            assert same(first, s.ask("POST", plain, frame, PNG)), f"{form}, step {i}"
            if i:
                assert (step(10 * i - 1, frame).status, step(10 * i - 1, frame).code) == (409, "step_is_old")
        for game in (at, plain):
            assert s.ask("DELETE", game).status == 204


def begin_from(s, peer):
    """A game for somebody at that address, behind a proxy."""
    return s.ask("POST", "/v1/act/sessions?game=car_racing", headers={"X-Forwarded-For": peer})


def test_games_of_one_peer_leave_room_for_others():
    """Without keys an address, of IPv6 a /64, has half of the games; so has this machine."""
    with Server("--trusted-proxy", "127.0.0.0/8", model=TINY) as s:
        peers = [["192.0.2.7"], [f"2001:db8:0:7::{i + 1:x}" for i in range(9)]]
        games = []
        for peer in peers:
            for i in range(32):
                reply = begin_from(s, peer[i % len(peer)])
                assert reply.status == 201, (peer, i, reply.body)
                games.append(reply.headers["Location"])
            over = begin_from(s, peer[-1])
            assert (over.status, over.code) == (429, "quota_exceeded") and "32 games" in over.json()["detail"]
            assert over.headers["RateLimit-Policy"] == '"sessions";q=32' and int(over.headers["Retry-After"]) >= 1
            assert over.headers["RateLimit"] == '"sessions";r=0'
        assert len(set(games)) == 64 == s.metric("lammd_act_sessions")
        full = begin_from(s, "192.0.2.8")
        assert (full.status, full.code) == (503, "too_many_sessions") and "DELETE" in full.json()["detail"]
        # Whoever knows it may end it.
        assert s.ask("DELETE", games[0], headers={"X-Forwarded-For": "192.0.2.99"}).status == 204
        assert begin_from(s, "192.0.2.8").status == 201
    with Server("--sessions", "4", model=TINY) as s:
        # Nobody is trusted.
        assert [begin_from(s, f"192.0.2.{i}").status for i in range(3)] == [201, 201, 429]


def test_pictures_of_one_peer_push_out_its_own():
    with Server("--trusted-proxy", "127.0.0.0/8", "--stored-images", "4", model=TINY) as s:
        def put(i, peer):
            return s.ask("PUT", "/v1/images", photos.png(i), PNG | {"X-Forwarded-For": peer})
        first = put(0, "192.0.2.7").json()["id"]
        assert [put(i, "192.0.2.8").status for i in range(1, 9)] == [201] * 8
        asked = json.dumps({"image": {"id": first}, "points": [[0, 0]]})
        assert s.ask("POST", "/v1/pixels", asked, JSON).status == 200
        assert put(9, "192.0.2.9").status == 201


def test_an_idle_game_makes_room():
    with Server("--sessions", "1", "--session-ttl", "3") as s:
        first = s.ask("POST", "/v1/act/sessions?game=car_racing").json()["id"]
        assert s.ask("POST", "/v1/act/sessions?game=car_racing").code == "quota_exceeded"
        wait_for(lambda: s.ask("POST", "/v1/act/sessions?game=car_racing").status == 201)
        assert s.ask("POST", f"/v1/act/sessions/{first}", FRAMES[0], PNG).code == "session_not_found"


def test_a_game_does_not_wait_behind_pictures():
    """The one worker has twelve large pictures to decode, none like another. A step that comes
    after them is answered before most of them, and so is a look at the server's health. The order
    is held, not the time: the step is sent once the first picture is done, so that the machine's
    speed does not matter. No thread here waits for another one."""
    from PIL import Image
    out, pictures = io.BytesIO(), []
    Image.effect_noise((4000, 3000), 40).save(out, "JPEG", quality=20)
    with Server("--workers", "1") as s:
        at = begin(s, "car_racing")
        for i in range(12):
            jpeg = out.getvalue()[:2] + b"\xff\xfe\x00\x03" + bytes([i]) + out.getvalue()[2:]
            pictures.append(http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOON))
            pictures[-1].request("PUT", "/v1/images", jpeg, {"Content-Type": "image/jpeg"})
        sockets = [c.sock for c in pictures]
        assert select.select(sockets, [], [], SOON)[0]
        assert s.ask("POST", at, FRAMES[0], PNG).status == 200 and s.ask("GET", "/livez").status == 200
        done = len(select.select(sockets, [], [], 0)[0])
        for c in pictures:
            with contextlib.closing(c):
                assert c.getresponse().status == 201
    assert done < len(pictures) - 3, done


def test_frames_of_a_session_are_seen_once(s):
    """The vision tower sees each frame once, in however many steps and games it is."""
    games = [begin(s, "space_invaders") for _ in range(6)]
    fresh = [[photos.png(100 + 10 * g + i, 32, 32) for g in range(len(games))] for i in range(5)]
    before = s.metric("lammd_pictures_seen_total")
    for frames in fresh:
        for at, frame in zip(games, frames):
            assert s.ask("POST", at, frame, PNG).status == 200
    assert s.metric("lammd_pictures_seen_total") == before + 5 * len(games)
    for at in games:
        assert s.ask("DELETE", at).status == 204
