"""test_train.py - the tab that trains, against a real short run: data, run, figures, default."""
import os
import tarfile

from see import PHOTO, WIDE, forgive, shots, shot, text, told
from suite import wait_for
from test_key import OPEN, type_key
from trains import pairs

GATE_S = 1800  # it asks some hundred questions, while nobody else wants the processor


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


# The page is told three times that what was trained isn't loaded yet, as on a busy machine.
LOADS_LATE = """(() => {
    const real = window.fetch;
    let late = 3;
    window.fetch = async (path, ...more) => {
        const reply = await real(path, ...more);
        const adapter = /v1.adapters.ft/.test(path);
        if (late <= 0 || !(adapter || /v1.models$/.test(path))) return reply;
        if (adapter) late--;
        const body = await reply.json();
        if (adapter) body.state = 'not_loaded';
        else body.data = body.data.filter((m) => !m.id.startsWith('ft:'));
        return new Response(JSON.stringify(body), {status: reply.status, headers: reply.headers});
    };
})()"""


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
    fill(page, recipe="gated", steps=60, suffix="bars")
    press(page, "train-go")
    page.wait("document.querySelectorAll('#train-loss .mark').length > 2")
    press(page, "train-pause")
    page.wait("document.getElementById('train-state').textContent.startsWith('‖ paused')")
    shots(page, "train-running")  # pictures take their time, in which a short run would end
    page.eval(LOADS_LATE)
    press(page, "train-resume")
    page.wait("document.getElementById('train-state').textContent.startsWith('✓')", GATE_S)
    judge_and_promote(page)
    compare(page)
    the_tar_is_one(trains)


def judge_and_promote(page):
    page.wait(shown("train-gate") + " && document.querySelectorAll('#train-gate tbody tr').length > 2")
    decision = text(page, "train-decision")
    print(decision)
    page.wait("document.getElementById('train-after').value !== 'small'")
    name = page.eval("document.getElementById('train-after').value")
    assert name.startswith("ft:small:bars:ftjob-"), name
    press(page, "train-promote")
    page.wait(f"{shown('train-refused')} || document.getElementById('train-default').textContent.startsWith('ft:')")
    if decision[0] in "▼?":  # refused; only the second, named step does it
        assert "all the same" not in text(page, "train-default")
        assert text(page, "train-force").startswith("Make it the default although")
        shots(page, "train-refused")
        press(page, "train-force")
        forgive(page, 409)
    page.wait(f"document.getElementById('train-default').textContent.startsWith({name!r})")
    page.wait("document.getElementById('train-promote').disabled")
    assert page.eval("document.querySelector('#train-history tbody').textContent").count("made the default") == 1
    shots(page, "train-promoted")
    press(page, "train-back")
    page.wait("document.getElementById('train-default').textContent.startsWith('small')")
    assert "rolled back" in page.eval("document.querySelector('#train-history tbody tr').textContent")


def compare(page):
    page.drop("#train-pair .well", PHOTO)
    page.wait("'picture' in document.body.dataset")
    for what, words in (("refer", "a box"), ("segment", "covers"), ("vqa", ""), ("reconstruct", "what it sees")):
        page.eval(f"document.querySelector('[name=train-ask][value={what}]').click()")
        fill(page, phrase="the boat")
        press(page, "train-compare-go")
        page.wait("!document.getElementById('train-compare-go').disabled")
        said = page.eval("[...document.querySelectorAll('#train-pair .says')].map((p) => p.textContent)")
        assert len(said) == 2 and all(words in s and s not in ("asked", "no answer") for s in said), (what, said)
        if what == "segment":
            shots(page, "train-compared")


def the_tar_is_one(trains):
    """What the page made of the folder is a tar to others, too: only files to learn from."""
    folder = os.path.join(trains.folder.path, "files")
    with tarfile.open(max((os.path.join(folder, f) for f in os.listdir(folder)), key=os.path.getsize)) as t:
        names = t.getnames()
        assert len(names) == 41 and "pairs.jsonl" in names and "notes.txt" not in names, names
        assert t.extractfile("000.png").read(8) == b"\x89PNG\r\n\x1a\n"


def walked_home(page, curve):
    if not page.eval(f"{curve}.clientWidth && ({curve}.focus(), document.activeElement === {curve})"):
        return False
    page.key("Home")
    return page.eval("document.querySelector('#train-loss figcaption span').textContent.startsWith('step 0')")


def test_cancelled_and_left(page, trains):
    """A run is cancelled; the tab forgets nothing when another one was shown."""
    enter(page, trains)
    page.drop("#train-drop", pairs(12))
    page.wait("document.getElementById('train-file-says').textContent.startsWith('✓')")
    fill(page, steps=20000)  # it mustn't end by itself, however slow the page is
    press(page, "train-go")
    page.wait("document.querySelectorAll('#train-loss .mark').length > 2")
    page.eval("location.hash = 'look'")
    page.eval("location.hash = 'train'")
    page.wait("document.querySelectorAll('#train-loss .mark').length > 2")
    curve = "document.querySelector('#train-loss svg')"
    # Whoever comes back may be sooner than the figures, which then are drawn anew.
    wait_for(lambda: walked_home(page, curve))
    press(page, "train-cancel")
    page.wait("document.getElementById('train-state').textContent.startsWith('✗ cancelled')")
    assert not page.eval(shown("train-result"))


def test_recipe_tasks_and_vision(page, trains):
    """The recipes are the server's, the tasks those of the data; what is chosen is asked for."""
    enter(page, trains)
    page.wait(shown("train-all"))
    page.wait("document.getElementById('train-recipe').options.length > 3")
    file = "document.getElementById('train-files').value"
    before = page.eval(file)  # of a file that was sent before
    page.drop("#train-drop", pairs(12))
    page.wait(f"{file} !== {before!r} && document.getElementById('train-file-says').textContent.startsWith('✓')")
    offered = page.eval("[...document.getElementById('train-recipe').options].map((o) => o.value)")
    assert offered == [r["id"] for r in trains.server.ask("GET", "/v1/fine_tuning/recipes").json()["data"]], offered
    assert text(page, "train-recipe-says").startswith("teaches lamm-mini things of your own")
    assert page.eval("document.getElementById('train-judge').options[0].textContent") == "20 % of the data"
    boxes = "[...document.querySelectorAll('#train-which input')]"
    counts = page.eval("[...document.querySelectorAll('#train-which label')].map((l) => l.textContent)")
    assert counts == ["refer 24", "vqa 12"], counts
    assert page.eval(f"{boxes}.every((b) => b.checked)")
    page.eval(f"{boxes}.forEach((b) => b.click())")
    assert page.eval("document.getElementById('train-go').disabled")
    assert text(page, "train-form-says") == "Mark at least one task."
    page.eval(f"{boxes}.find((b) => b.value === 'refer').click()")
    page.eval("document.querySelector('#train-form details').open = true")
    fill(page, steps=500, vision="yes", suffix="how")
    shots(page, "train-how")
    press(page, "train-go")
    page.wait("document.getElementById('train-jobs').selectedOptions[0]?.textContent.startsWith('how,')")
    job = trains.server.ask("GET", "/v1/fine_tuning/jobs?limit=1").json()["data"][0]
    assert job["lammd"]["tasks"] == ["refer"] and job["lammd"]["vision"] is True, job
    assert job["lammd"]["lora"]["r"] == 16 and job["lammd"]["steps"] == 500
    press(page, "train-cancel")
    page.wait("document.getElementById('train-state').textContent.startsWith('✗ cancelled')")


def test_a_key_that_may_not_train(page, trains):
    enter(page, trains, trains.asking)
    page.wait(shown("train-key"))
    assert "may not train" in text(page, "train-why")
    assert not page.eval(shown("train-all"))
    shot(page, "train-scope")
    press(page, "train-key")
    type_key(page, trains.key)
    page.wait(shown("train-all"))
    assert page.eval("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    forgive(page, 403)


def test_nothing_is_kept(page, fake):
    page.look(**WIDE)
    page.goto(fake.url + "/#train")
    page.wait("document.getElementById('train-why').textContent.includes('--state DIR')")
    assert not page.eval(shown("train-key")) and not page.eval(shown("train-all"))
    shots(page, "train-no-state")
    forgive(page, 503)


def test_no_keys_no_training(page, base):
    """A server without keys: the page doesn't ask for one that can't exist."""
    page.look(**WIDE)
    page.goto(base + "/#train")
    page.wait("document.getElementById('train-why').textContent.includes('--keys FILE')")
    assert not page.eval(OPEN)
    forgive(page, 401)


def test_a_folder_without_lines(page, trains):
    enter(page, trains)
    folder = pairs(2)
    os.unlink(os.path.join(folder, "pairs.jsonl"))
    page.drop("#train-drop", folder)
    assert "there is no .jsonl file" in told(page)
