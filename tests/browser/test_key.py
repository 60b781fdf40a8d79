"""test_key.py - a server that asks for a key: the page asks its user, once, and keeps it."""
from fake import ANSWER
from see import WIDE, forgive, give, shots, text

OPEN = "document.getElementById('key-dialog').open"
KEY = "lammd_abcd_" + "0123456789abcdef" * 4


def type_key(page, key):
    page.wait(OPEN)
    page.eval(f"document.getElementById('key-field').value = {key!r}")
    page.eval("document.getElementById('key-form').requestSubmit()")


def start(page, fake, tab=""):
    fake.key = KEY
    page.look(**WIDE)
    page.goto(f"{fake.url}/#{tab}")
    page.wait(OPEN)


def test_the_page_asks_for_a_key_and_sends_it(page, fake):
    start(page, fake, "ask")
    shots(page, "key")
    assert text(page, "key-why") == ""
    type_key(page, "lammd_wrong")
    page.wait("document.getElementById('key-why').textContent !== ''")
    type_key(page, f" {KEY} ")
    page.wait("document.getElementById('model').textContent.includes('fake')")
    assert not page.eval(OPEN)
    give(page)
    page.eval("document.getElementById('ask-question').value = 'what is there?'")
    page.eval("document.getElementById('ask-question').dispatchEvent(new Event('input', {bubbles: true}))")
    page.eval("document.getElementById('ask-form').requestSubmit()")
    page.wait(f"document.body.textContent.includes({ANSWER!r})")
    assert not page.eval(OPEN)
    # It is in no place that lasts, and not to be read from the page.
    assert page.eval("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    assert KEY not in page.eval("document.documentElement.outerHTML + location.href + document.getElementById('key-field').value")
    assert "$LAMMD_KEY" in text(page, "curl")
    page.goto("about:blank")
    page.goto(fake.url + "/")
    page.wait(OPEN)
    forgive(page, 401)


def test_without_a_key_the_page_says_so(page, fake):
    start(page, fake, "play")
    page.eval("document.getElementById('key-cancel').click()")
    page.wait(f"!({OPEN})")
    page.eval("location.hash = 'look'")
    page.eval("document.getElementById('sample').click()")
    page.wait(OPEN)
    page.eval("document.getElementById('key-cancel').click()")
    page.wait("!document.getElementById('error').hidden")
    assert "A key is needed" in text(page, "error")
    forgive(page, 401)
