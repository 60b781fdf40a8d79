"""test_ask.py - the tab that talks: words as they come, what is remembered, what is not."""
import base64
import json
import os
import subprocess
import tempfile

from fake import ANSWER
from see import PHOTO, forgive, fresh, give, shot, shots, text, told

IDLE = "document.body.dataset.ask === 'idle'"
SAID = "[...document.querySelectorAll('#ask-log li')].map((b) => b.textContent)"


def ask(page, question):
    page.eval(f"""(() => {{
        document.getElementById('ask-question').value = {json.dumps(question)};
        document.getElementById('ask-form').requestSubmit();
    }})()""")


def answered(page, question):
    ask(page, question)
    page.wait(IDLE)


def messages(fake):
    """Of the last request."""
    return json.loads([b for p, b in fake.seen if p == "/v1/chat/completions"][-1])["messages"]


def test_empty(page, fake):
    fresh(page, fake.url, "ask")
    assert page.eval("document.getElementById('ask-go').disabled")
    shot(page, "ask-empty")


def test_words_show_as_they_come(page, fake):
    fresh(page, fake.url, "ask")
    give(page)
    page.eval("""(() => {
        window.seen = [];
        new MutationObserver(() => window.seen.push(document.querySelector('#ask-log .said')?.textContent))
            .observe(document.getElementById('ask-log'), {childList: true, subtree: true, characterData: true});
    })()""")
    answered(page, "What is there, in slow words?")
    seen = [s for s in page.eval("window.seen") if s]
    assert len(set(seen)) >= 5 and all(ANSWER.startswith(s) for s in seen), seen
    assert page.eval(SAID) == ["What is there, in slow words?", ANSWER]


def test_turns_and_the_picture_are_remembered(page, fake):
    fresh(page, fake.url, "ask")
    give(page)
    shot(page, "ask-begin")
    answered(page, "What is in the picture?")
    answered(page, "And where is it?")
    first, answer, second = messages(fake)
    with open(PHOTO, "rb") as f:
        url = "data:image/jpeg;base64," + base64.b64encode(f.read()).decode()
    assert first == {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}},
                                                 {"type": "text", "text": "What is in the picture?"}]}
    assert answer == {"role": "assistant", "content": ANSWER}
    assert second == {"role": "user", "content": "And where is it?"}
    shots(page, "ask")
    page.eval("document.getElementById('ask-new').click()")
    answered(page, "Anew")
    assert len(messages(fake)) == 1


def test_a_guess_says_so(page, fake):
    fresh(page, fake.url, "ask")
    give(page)
    answered(page, "What is it?")
    answered(page, "What is it, in foggy weather?")
    guess = "[...document.querySelectorAll('#ask-log .said')].map((b) => b.classList.contains('unsure'))"
    assert page.eval(guess) == [False, True]
    assert page.eval(SAID)[3] == ANSWER, "what is told again has no remark in it"
    shot(page, "ask-unsure")


def test_new_picture_begins_a_new_talk(page, fake):
    fresh(page, fake.url, "ask")
    give(page)
    answered(page, "What is it?")
    page.eval("document.getElementById('sample').click()")
    page.wait("document.getElementById('ask-log').children.length === 0")
    answered(page, "What is it now?")
    assert len(messages(fake)) == 1
    assert messages(fake)[0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")


def test_stop_keeps_what_was_said(page, fake):
    fresh(page, fake.url, "ask")
    give(page)
    ask(page, "Slowly: slow")
    page.wait("document.querySelector('#ask-log .said')?.textContent.length > 8")
    page.eval("document.getElementById('ask-stop').click()")
    page.wait(IDLE)
    said = page.eval(SAID)[1]
    assert said and said != ANSWER and ANSWER.startswith(said)
    answered(page, "Go on")
    assert messages(fake)[1] == {"role": "assistant", "content": said}


def test_what_failed_is_taken_back(page, fake):
    fresh(page, fake.url, "ask")
    give(page)
    answered(page, "What is it?")
    for question, status, words in (("impossible?", 422, "More work"), ("later?", 503, "3 s"),
                                    ("broken?", None, "The device is gone"),
                                    ("cut short?", None, "not complete")):
        answered(page, question)
        assert words in told(page), told(page)
        if status:
            forgive(page, status)
        assert page.eval(SAID) == ["What is it?", ANSWER], page.eval(SAID)
        assert page.eval("document.getElementById('ask-question').value") == question
    shot(page, "ask-error")
    answered(page, "And now?")
    assert [m["role"] for m in messages(fake)] == ["user", "assistant", "user"]
    assert page.eval("document.getElementById('error').hidden")


def test_no_words(page, fake):
    fresh(page, fake.url, "ask")
    give(page)
    answered(page, "a silent question")
    assert page.eval(SAID) == ["a silent question", "no words came back"]
    answered(page, "And now?")
    assert len(messages(fake)) == 1, "an empty turn is not told again"
    assert messages(fake)[0]["content"][0]["type"] == "image_url"


def test_enter_sends_and_shift_enter_does_not(page, fake):
    fresh(page, fake.url, "ask")
    give(page)
    page.eval("document.getElementById('ask-question').focus()")
    page.call("Input.insertText", text="Why?")
    page.key("Enter", modifiers=8)
    assert not [p for p, _ in fake.seen if "chat" in p]
    page.key("Enter")
    page.wait(f"{IDLE} && document.querySelectorAll('#ask-log li').length === 2")


def test_markup_is_text(page, fake):
    fresh(page, fake.url, "ask")
    give(page)
    answered(page, "<img src=x onerror=alert(1)>")
    assert page.eval(SAID)[0] == "<img src=x onerror=alert(1)>"
    assert page.eval("document.querySelectorAll('#ask-log li *').length") == 0


def test_real(page, base):
    fresh(page, base, "ask")
    give(page)
    answered(page, "What is in the picture?")
    answered(page, "What colour is it?")
    assert page.eval("document.getElementById('error').hidden"), page.eval("document.getElementById('error').textContent")
    said = page.eval(SAID)
    assert len(said) == 4 and all(said), said
    shot(page, "ask-real")


def test_the_command_takes_a_large_photo(page, base):
    from PIL import Image
    fresh(page, base, "ask")
    with tempfile.TemporaryDirectory() as tmp:
        Image.frombytes("RGB", (500, 500), os.urandom(750000)).save(tmp + "/photo.jpg", quality=95)
        assert os.path.getsize(tmp + "/photo.jpg") > 200000  # more than one argument may have
        out = subprocess.run(["sh", "-c", text(page, "curl")], cwd=tmp, capture_output=True, check=True).stdout
    assert json.loads(out)["object"] == "chat.completion"
