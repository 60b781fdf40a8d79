"""see.py - what the page's tests share: where things are, the page at its start, screenshots."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PHOTO = os.path.join(ROOT, "tests/browser/photo.jpg")
ARTIFACTS = os.path.join(ROOT, "build/artifacts")
WIDE, PHONE = dict(width=1280, height=900), dict(width=390, height=844, phone=True, scale=2)


def fresh(page, base, tab=""):
    page.look(**WIDE)
    page.goto(f"{base}/#{tab}" if tab else base + "/")
    page.wait("document.getElementById('model').textContent !== ''")


def give(page, photo=PHOTO):
    """A photo, on a tab that is not look."""
    page.drop("[role=tabpanel]:not([hidden]) .well", photo)
    page.wait("'picture' in document.body.dataset")


def shot(page, name, **how):
    """build/artifacts/page-NAME.png, on the screen that `how` says."""
    page.look(**{**WIDE, **how})
    page.eval("new Promise((done) => setTimeout(done, 300))")  # colours fade over
    page.screenshot(f"{ARTIFACTS}/page-{name}.png")


def shots(page, name):
    """Light, dark and on a phone; on the phone nothing is too wide or too small."""
    shot(page, name)
    shot(page, name + "-dark", dark=True)
    shot(page, name + "-phone", **PHONE)
    fits(page)
    shot(page, name + "-phone-dark", **PHONE, dark=True)
    page.look(**WIDE)


def fits(page):
    assert page.eval("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways"
    small = page.eval("[...document.querySelectorAll('button, [role=tab]')].filter((b) => "
                      "b.offsetParent && b.getBoundingClientRect().height < 32).map((b) => b.id)")
    assert not small, f"too small for a thumb: {small}"


def told(page):
    """The error that the page shows."""
    page.wait("!document.getElementById('error').hidden")
    return page.eval("document.getElementById('error').textContent")


def forgive(page, status):
    """A refused request is an error to the console too; it is the one that the test asked for."""
    page.errors[:] = [e for e in page.errors if str(status) not in e]


def text(page, element):
    return page.eval(f"document.getElementById('{element}').textContent")
