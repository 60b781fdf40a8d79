"""test_play.py - the tab with the game: the world, the frames it sends, the clocks, the hands."""
import io
import time

from fake import ACTION
from see import forgive, fresh, shot, shots, text, told
from suite import wait_for

RACE = "import('/ui/play.js').then(({play: {race}}) => %s)"
# A driver that looks at the road itself: steers to a tile ahead, slower where the road bends.
DRIVER = """(race) => {
    const {car, road, near} = race, n = road.length, t = road[(near + Math.round((5 + 0.18 * race.speed) / 3.5)) % n];
    const dx = t.x - car.x, dy = t.y - car.y, c = Math.cos(car.angle), s = Math.sin(car.angle);
    const turn = Math.atan2(-(c * dx + s * dy), -s * dx + c * dy);
    const bend = road[(near + 14) % n].angle - road[near].angle;
    const most = 42 - 26 * Math.min(1, Math.abs(Math.atan2(Math.sin(bend), Math.cos(bend))));
    return {steering: Math.max(-1, Math.min(1, -2.2 * turn)), gas: race.speed < most ? 0.4 : 0,
            brake: race.speed > most + 6 ? 0.4 : 0};
}"""


def start(page):
    page.eval("document.getElementById('play-go').click()")
    page.wait("document.getElementById('play-latency').textContent !== '–'")


def frames(fake):
    return [b for p, b in fake.seen if p.startswith("/v1/act/sessions/")]


def test_road_can_be_driven(page, fake):
    fresh(page, fake.url)
    laps = page.eval(f"""import('/ui/race.js').then(({{Race}}) => [1, 2, 3, 4, 5, 6, 7, 8].map((seed) => {{
        const race = new Race(seed), drive = {DRIVER};
        while (!race.ended && race.steps < 4000) race.step(drive(race));
        return [seed, race.ended, Math.round(race.score)];
    }}))""")
    assert all(ended == "lap" and score > 700 for _, ended, score in laps), laps


def test_roads_are_closed_even_and_wide_enough(page, fake):
    fresh(page, fake.url)
    bad = page.eval("""import('/ui/race.js').then(({makeRoad, ROAD}) => {
        const bad = [];
        for (let seed = 0; seed < 200; seed++) {
            const road = makeRoad(seed), n = road.length;
            for (let i = 0; i < n; i++) {
                const a = road[i], b = road[(i + 1) % n], d = Math.hypot(a.x - b.x, a.y - b.y);
                if (d < 3 || d > 3.7) bad.push([seed, i, d]);
                for (let k = i + 8; k < Math.min(n, i + n - 7); k++)
                    if (Math.hypot(a.x - road[k].x, a.y - road[k].y) < 2 * ROAD) bad.push([seed, i, k]);
            }
        }
        return bad.slice(0, 5);
    })""")
    assert not bad, bad


def test_car_moves_as_the_game_does(page, fake):
    """Speeds of Gymnasium 1.x CarRacing-v3 after so many steps straight on with gas 0.5."""
    fresh(page, fake.url)
    speeds = page.eval("""import('/ui/race.js').then(({Race}) => {
        const race = new Race(3), out = [];
        for (let t = 1; t <= 60; t++) {
            race.step({steering: 0, gas: 0.5, brake: 0});
            if (t % 20 === 0) out.push(race.speed);
        }
        return out;
    })""")
    assert all(abs(a - b) < 0.02 for a, b in zip(speeds, (19.27, 36.78, 48.76))), speeds


def test_frames_and_figures(page, fake):
    fresh(page, fake.url, "play")
    shot(page, "play-idle")
    start(page)
    page.wait(RACE % "race.steps >= 20")
    from PIL import Image
    frame = Image.open(io.BytesIO(frames(fake)[-1])).convert("RGB")
    assert frame.size == (96, 96)
    r, g, b = frame.getpixel((48, 73))  # the hull
    assert r > 150 and g < 60 and b < 60, (r, g, b)
    # The road ahead.
    r, g, b = Image.open(io.BytesIO(frames(fake)[0])).convert("RGB").getpixel((48, 60))
    assert r == g == b and 100 <= r <= 109, (r, g, b)
    assert frame.getpixel((60, 94)) == (0, 0, 0)
    for figure in ("latency", "mean", "worst", "server"):
        assert float(text(page, "play-" + figure)) > 0
    assert text(page, "play-gas-value") == "0.3" and text(page, "play-steering-value") == "-0.1"
    assert text(page, "play-who") == "the model drives"
    shots(page, "play")
    page.eval("document.getElementById('play-stop').click()")
    assert text(page, "play-status") == "paused"
    wait_for(lambda: not fake.sessions)  # the session is closed
    steps = page.eval(RACE % "race.steps")
    time.sleep(0.3)
    assert page.eval(RACE % "race.steps") == steps, "the world stands still"


def test_world_waits_for_answers(page, fake):
    fake.act_s = 0.1
    fresh(page, fake.url, "play")
    start(page)
    wait_for(lambda: len(frames(fake)) >= 5)
    page.eval("document.getElementById('play-stop').click()")
    steps, asked = page.eval(RACE % "race.steps"), len(frames(fake))
    assert asked - 1 <= steps <= asked, (steps, asked)


def test_world_runs_on(page, fake):
    fake.act_s = 1
    fresh(page, fake.url, "play")
    page.eval("document.querySelector('[name=play-clock][value=runs]').click()")
    start(page)
    wait_for(lambda: len(frames(fake)) >= 3)
    page.eval("document.getElementById('play-stop').click()")
    steps, asked = page.eval(RACE % "race.steps"), len(frames(fake))
    assert steps > 4 * asked, (steps, asked)


def test_arrow_keys_take_the_wheel(page, fake):
    fresh(page, fake.url, "play")
    start(page)
    key = dict(key="ArrowUp", code="ArrowUp", windowsVirtualKeyCode=38)
    page.call("Input.dispatchKeyEvent", type="rawKeyDown", **key)
    assert text(page, "play-who") == "you drive"
    assert text(page, "play-gas-value") == "0.8" and text(page, "play-steering-value") == "0.0"
    asked = len(frames(fake))
    wait_for(lambda: len(frames(fake)) > asked)  # the model is asked all the same
    page.call("Input.dispatchKeyEvent", type="keyUp", **key)
    assert text(page, "play-who") == "the model drives"
    assert text(page, "play-gas-value") == f"{ACTION['gas']:.1f}"
    assert page.eval("scrollY") == 0


def test_frame_is_the_average_of_the_scene(page, fake):
    """As the game itself makes it; a browser's quick smoothing would leave out thin things."""
    fresh(page, fake.url, "play")
    apart = page.eval("""(() => {
        const pixels = (id, w, h) => document.getElementById(id).getContext('2d').getImageData(0, 0, w, h).data;
        const big = pixels('play-canvas', 1000, 800), small = pixels('play-frame', 96, 96), n = 96;
        const parts = (size, i) => {
            const from = i * size / n, to = (i + 1) * size / n, all = [];
            for (let k = Math.floor(from); k < Math.ceil(to); k++)
                all.push([k, Math.min(to, k + 1) - Math.max(from, k)]);
            return all;
        };
        let sum = 0;
        for (let y = 0; y < n; y++) for (let x = 0; x < n; x++) for (let c = 0; c < 3; c++) {
            let v = 0, area = 0;
            for (const [j, b] of parts(800, y)) for (const [i, a] of parts(1000, x)) {
                v += a * b * big[4 * (1000 * j + i) + c];
                area += a * b;
            }
            sum += Math.abs(v / area - small[4 * (n * y + x) + c]);
        }
        return sum / (3 * n * n);
    })()""")
    assert apart < 0.4, f"{apart} levels"


def test_leaving_the_tab_pauses(page, fake):
    fresh(page, fake.url, "play")
    start(page)
    page.eval("location.hash = 'ask'")
    page.wait("document.body.dataset.play === 'idle'")
    page.eval("location.hash = 'play'")
    page.wait("document.body.dataset.tab === 'play'")
    assert text(page, "play-status") == "paused"


def test_new_road_and_end(page, fake):
    fresh(page, fake.url, "play")
    start(page)
    page.eval("document.getElementById('play-new').click()")
    assert page.eval(RACE % "race.steps") == 0 and text(page, "play-status") == "ready"
    page.eval(RACE % "(race.car.x = 1000)")
    page.eval("document.getElementById('play-go').click()")
    page.wait("document.getElementById('play-status').textContent.startsWith('lost')")
    start(page)  # another race begins
    assert page.eval(RACE % "race.ended") is None


def test_lost_session_is_told(page, fake):
    fresh(page, fake.url, "play")
    start(page)
    fake.sessions.clear()
    assert "No such session" in told(page)
    assert page.eval("document.body.dataset.play") == "idle"
    forgive(page, 404)
    shot(page, "play-error")


def test_real(page, base):
    fresh(page, base, "play")
    page.eval("document.getElementById('play-go').click()")
    page.wait((RACE % "race.steps >= 25") + ".then((is) => is || !document.getElementById('error').hidden)")
    assert page.eval("document.getElementById('error').hidden"), page.eval("document.getElementById('error').textContent")
    assert 0 < float(text(page, "play-server")) <= float(text(page, "play-worst")) + 1
    shot(page, "play-real")
