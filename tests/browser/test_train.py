"""test_train.py - the tab that trains, against a real short run: data, run, figures, default."""
import os
import tarfile

from see import PHOTO, WIDE, forgive, shots, shot, text, told
from test_key import OPEN, type_key
from trains import pairs


def shown(element):
    return f"(document.getElementById('{element}').offsetParent !== null)"


def press(page, element):
    page.wait(f"!document.getElementById('{element}').disabled && {shown(element)}")
    page.eval(f"document.getElementById('{element}').click()")


def fill(page, **values):
    for name, value in values.items():
        page.eval(f"(() => {{ const e = document.getElementById('train-{name}'); e.value = {str(value)!r};"
                  " e.dispatchEvent(new Event('change', {bubbles: true})) })()")


def enter(page, trains, key=None):
    page.look(**WIDE)
    page.goto("about:blank")
    page.goto(trains.url + "/#train")
    type_key(page, key or trains.key)
    page.wait("document.getElementById('model').textContent !== ''")
    forgive(page, 401)


def test_a_run_from_folder_to_default(page, trains):
    enter(page, trains)
    page.wait(shown("train-all"))
    shots(page, "train-empty")
    page.drop("#train-drop", pairs(8, bad=True))
    page.wait("document.getElementById('train-file-says').textContent.startsWith('✗')")
    rows = page.eval("[...document.querySelectorAll('#train-report tbody tr')].map((r) => r.textContent)")
    assert len(rows) == 2 and "line 25" in rows[0] and "box" in rows[0], rows
    assert page.eval("document.getElementById('train-go').disabled")
    shots(page, "train-mistakes")
    page.drop("#train-drop", pairs(40))
    page.wait("document.getElementById('train-file-says').textContent.startsWith('✓')")
    fill(page, steps=60, suffix="bars")
    press(page, "train-go")
    page.wait("document.querySelectorAll('#train-loss .mark').length > 2")
    shots(page, "train-running")
    print(text(page, "train-state"))
    press(page, "train-pause")
    page.wait("document.getElementById('train-state').textContent.startsWith('‖ paused')")
    press(page, "train-resume")
    page.wait("document.getElementById('train-state').textContent.startsWith('✓')")
    shots(page, "train-done")
    print(text(page, "train-state"), text(page, "train-decision"))
