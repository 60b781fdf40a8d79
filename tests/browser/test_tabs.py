"""test_tabs.py - the five tabs: addresses, keys, the one picture they share."""
import urllib.request

from fake import CSP
from see import fits, forgive, fresh, give, told, PHONE
from suite import wait_for

NAMES = ["look", "cut", "ask", "play", "train"]
SHOWN = "[...document.querySelectorAll('[role=tabpanel]')].filter((p) => p.offsetParent).map((p) => p.id)"
CHOSEN = "[...document.querySelectorAll('[role=tab]')].filter((t) => t.ariaSelected === 'true').map((t) => t.id)"


def test_address_opens_its_tab(page, fake):
    for name in NAMES:
        page.goto("about:blank")
        fresh(page, fake.url, name)
        assert page.eval(SHOWN) == [f"{name}-panel"], page.eval(SHOWN)
        assert page.eval(CHOSEN) == [f"tab-{name}"]
        assert "curl " in page.eval("document.getElementById('curl').textContent")
        label = page.eval(f"document.getElementById('{name}-panel').getAttribute('aria-labelledby')")
        assert label == f"tab-{name}"
    forgive(page, 503)  # the stand-in keeps nothing, so it trains nothing


def test_below_a_path(page, fake):
    """Behind a proxy that has other things at its root."""
    fake.below = "/see/lammd"
    fresh(page, fake.url + fake.below, "ask")
    assert fake.url + "/see/lammd/v1/chat" in page.eval("document.getElementById('curl').textContent")
    give(page)
    for name, path in (("look", "/v1/reconstruct"), ("cut", "/v1/segment"), ("ask", "/v1/chat/completions"), ("play", "/v1/act/sessions")):
        page.eval(f"location.hash = '{name}'")
        page.wait(f"document.body.dataset.tab === '{name}'")
        if name == "cut":
            page.eval("document.getElementById('cut-phrase').value = 'a boat', document.getElementById('cut-form').requestSubmit()")
        if name == "ask":
            page.eval("document.getElementById('ask-question').value = 'what?', document.getElementById('ask-form').requestSubmit()")
        if name == "play":
            page.eval("document.getElementById('play-go').click()")
        wait_for(lambda: any(p.startswith(path) for p, _ in fake.seen))
    wait_for(lambda: any(p.startswith("/v1/act/sessions/") for p, _ in fake.seen))
    links = page.eval("[...document.querySelectorAll('a')].map((a) => a.href)")
    assert fake.url + "/see/lammd/openapi.yaml" in links, links
    assert not fake.stray, fake.stray
    forgive(page, 503)


def test_unknown_address_opens_look(page, fake):
    fresh(page, fake.url, "nonsense")
    assert page.eval(SHOWN) == ["look-panel"]


def test_keys_move_among_tabs(page, fake):
    fresh(page, fake.url)
    page.eval("document.getElementById('tab-look').focus()")
    steps = [("ArrowRight", "cut"), ("ArrowRight", "ask"), ("End", "train"), ("ArrowRight", "look"),
             ("ArrowLeft", "train"), ("Home", "look")]
    for key, name in steps:
        page.key(key)
        page.wait(f"document.body.dataset.tab === '{name}'")
        assert page.eval("document.activeElement.id") == f"tab-{name}"
        assert page.eval(SHOWN) == [f"{name}-panel"]
        # One tab is in the order of the Tab key.
        assert page.eval("document.querySelectorAll('[role=tab][tabindex=\"0\"]').length") == 1
    forgive(page, 503)


def test_click_and_back(page, fake):
    fresh(page, fake.url)
    page.eval("document.getElementById('tab-ask').click()")
    page.wait("document.body.dataset.tab === 'ask'")
    page.eval("history.back()")
    page.wait("document.body.dataset.tab === 'look'")
    assert page.eval("scrollY") == 0


def test_one_picture_for_three_tabs(page, fake):
    fresh(page, fake.url, "cut")
    give(page)
    assert not [p for p, _ in fake.seen if "reconstruct" in p], "look paints before it is shown"
    page.eval("location.hash = 'ask'")
    page.wait("!document.getElementById('ask-picture').hidden")
    page.eval("location.hash = 'look'")
    assert "queue is full" in told(page)
    forgive(page, 503)
    with open(__file__.replace("test_tabs.py", "photo.jpg"), "rb") as f:
        assert [b for p, b in fake.seen if "reconstruct" in p] == [f.read()]
    page.eval("location.hash = 'ask'")
    page.wait("document.getElementById('error').hidden")  # an error stays on its tab


def test_photo_dropped_on_the_game_goes_to_look(page, fake):
    fresh(page, fake.url, "play")
    page.drop("#play-stage", __file__.replace("test_tabs.py", "photo.jpg"))
    page.wait("document.body.dataset.tab === 'look'")
    assert "queue is full" in told(page)
    forgive(page, 503)


def test_phone_fits(page, fake):
    fresh(page, fake.url)
    page.look(**PHONE)
    for name in NAMES:
        page.eval(f"location.hash = '{name}'")
        page.wait(f"document.body.dataset.tab === '{name}'")
        fits(page)
    forgive(page, 503)


def test_stand_in_has_the_real_policy(page, fake, base):
    """Else a tab could pass here and be blocked by the real program's headers."""
    with urllib.request.urlopen(base + "/") as reply:
        assert reply.headers["Content-Security-Policy"] == CSP
