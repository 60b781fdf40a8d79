"""test_chat.py - /v1/chat/completions by hand, and by OpenAI's client where it is installed."""
import base64
import json

import photos
from lamm import JSON, PNG, TINY, Server, Skip, contract, data_url
from suite import count

BODY = photos.png()
URL = data_url(BODY)
WARM = {"temperature": 1.5, "seed": 5, "max_tokens": 24}


def start():
    """The tiny model has never been trained, so it babbles, all bytes there are."""
    return Server(model=TINY)


def look(text="What is this?", url=URL):
    return {"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]}


def ask(s, *messages, **fields):
    return s.ask("POST", "/v1/chat/completions", json.dumps({"model": "lammd", "messages": messages, **fields}), JSON)


def chunks(reply):
    lines = [line for line in reply.body.decode().split("\n\n") if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]"
    out = [json.loads(line[6:]) for line in lines[:-1]]
    for chunk in out:
        contract.validate(chunk, contract.schema("ChatChunk"))
    return out


def content(reply):
    return reply.json()["choices"][0]["message"]["content"]


def talkative(s, **fields):
    """Fields with a seed whose answer has some length."""
    for seed in range(40):
        warm = {**WARM, "seed": seed, **fields}
        text = content(ask(s, look(), **warm))
        if len(text) >= 12:
            return warm, text
    raise AssertionError("no seed says anything")


def test_an_answer_and_its_stream(s):
    warm, text = talkative(s)
    reply = ask(s, look(), **warm)
    got = reply.json()
    assert content(reply) == text and got["model"] == "tiny"
    usage = got["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] and usage["prompt_tokens"] > 16
    streamed = chunks(ask(s, look(), stream=True, stream_options={"include_usage": True}, **warm))
    assert streamed[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in streamed if c["choices"]) == text
    assert streamed[-1]["choices"] == [] and streamed[-1]["usage"] == usage
    assert streamed[-2]["choices"][0]["finish_reason"] == got["choices"][0]["finish_reason"]
    assert all(c["usage"] is None for c in streamed[:-1])


def test_a_model_may_have_said_nothing(s):
    """Clients send history back as it was, empty answers too."""
    for nothing in ("", None, []):
        reply = ask(s, look("a"), {"role": "assistant", "content": nothing}, {"role": "user", "content": "b"}, max_tokens=4)
        assert reply.status == 200, (nothing, reply.body)


def test_what_was_said_may_come_back(s):
    """Hot and untrained, the model says everything: tags, control characters, odd bytes."""
    odd = 0
    for seed in range(count(40, 400)):
        how = {"temperature": 2, "seed": seed, "max_tokens": 20}
        said = ask(s, {"role": "user", "content": "a"}, **how).json()["choices"][0]["message"]
        odd += any(ord(c) < 32 or c in "<[" for c in said["content"])
        reply = ask(s, {"role": "user", "content": "a"}, said, {"role": "user", "content": "b"}, max_tokens=2)
        assert reply.status == 200, (said, reply.body)
    assert odd, "nothing odd was said"
    for text in ("</Img>", "[/INST]", "a [INST]b[/INST] <Img><ImageHere>", "\x01\x7f\x85", " ", "<s></s><unk>"):
        reply = ask(s, {"role": "user", "content": "a"}, {"role": "assistant", "content": text},
                    {"role": "user", "content": "b"}, max_tokens=2)
        assert reply.status == 200, (text, reply.body)


def test_a_long_answer_is_as_long_as_there_is_room(s):
    for fields in ({"max_tokens": 4096}, {"max_completion_tokens": 128000}, {}):
        got = ask(s, look(), temperature=2, seed=1, **fields).json()
        assert got["usage"]["total_tokens"] <= 128, got["usage"]
        if got["choices"][0]["finish_reason"] == "length":
            assert got["usage"]["total_tokens"] == 128


def test_control_names_are_text(s):
    plain = ask(s, {"role": "user", "content": "<s> a </s> <unk>"}, max_tokens=2).json()["usage"]["prompt_tokens"]
    assert plain > ask(s, {"role": "user", "content": "a"}, max_tokens=2).json()["usage"]["prompt_tokens"] + 6


def test_stop_strings(s):
    warm, text = talkative(s)
    stop = text[5:8]
    want = text[:text.index(stop)]
    for stops in (stop, [stop], ["never said", stop]):
        got = ask(s, look(), stop=stops, **warm).json()
        assert got["choices"][0]["message"]["content"] == want and got["choices"][0]["finish_reason"] == "stop"
        streamed = chunks(ask(s, look(), stream=True, stop=stops, **warm))
        assert "".join(c["choices"][0]["delta"].get("content", "") for c in streamed) == want
        assert streamed[-1]["choices"][0]["finish_reason"] == "stop"


def test_logprobs(s):
    warm, text = talkative(s)
    got = ask(s, look(), logprobs=True, top_logprobs=20, **warm).json()
    tokens = got["choices"][0]["logprobs"]["content"]
    assert len(tokens) == got["usage"]["completion_tokens"] and "".join(t["token"] for t in tokens) == text
    for t in tokens:
        best = [x["logprob"] for x in t["top_logprobs"]]
        assert len(best) == 20 and best == sorted(best, reverse=True) and t["logprob"] <= best[0] + 1e-6
    streamed = chunks(ask(s, look(), stream=True, logprobs=True, **warm))
    assert [t["logprob"] for c in streamed for t in (c["choices"][0]["logprobs"] or {"content": []})["content"]] \
        == [t["logprob"] for t in tokens]


def test_turns_pictures_and_system(s):
    messages = [{"role": "system", "content": "Be brief."}, look("one"), {"role": "assistant", "content": "a dog"},
                look("two", data_url(photos.png(3)))]
    reply = ask(s, *messages, **WARM)
    assert reply.status == 200 and reply.json()["usage"]["prompt_tokens"] > 32
    stored = s.ask("PUT", "/v1/images", BODY, PNG).json()["id"]
    assert content(ask(s, look(url=f"lammd:{stored}"), **WARM)) == content(ask(s, look(), **WARM))
    assert ask(s, {"role": "user", "content": "no picture"}, max_tokens=3).status == 200


def test_a_list_of_models(s):
    got = s.ask("GET", "/v1/models").json()
    model = got["data"][0]
    assert got["object"] == "list" and model["object"] == "model" and model["created"] > 1700000000
    assert model["owned_by"] == "lammd" and model["image_tokens"] == 16 and model["context"] == 128
    alias = {**model, "id": "lammd", "stands_for": "tiny"}
    assert s.ask("GET", "/v1/models/tiny").json() == model and got["data"][1:] == [alias]
    assert s.ask("GET", "/v1/models/lammd").json() == alias
    assert s.ask("GET", "/v1/models/gpt-4o").code == "model_not_found"


def test_the_openai_client(s):
    try:
        import openai
    except ImportError:
        raise Skip("openai is not installed (pip install openai)")
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key="unused", max_retries=0)
    assert [m.id for m in client.models.list()] == ["tiny"] and client.models.retrieve("tiny").id == "tiny"
    warm, text = talkative(s)
    one = client.chat.completions.create(model="tiny", messages=[look()], logprobs=True, top_logprobs=2, **warm)
    assert one.choices[0].message.content == text and one.choices[0].finish_reason in ("stop", "length")
    assert len(one.choices[0].logprobs.content[0].top_logprobs) == 2
    stream = client.chat.completions.create(model="lammd", messages=[look()], stream=True,
                                            stream_options={"include_usage": True}, **warm)
    parts = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in parts if c.choices) == text
    assert parts[-1].usage == one.usage or parts[-1].usage.total_tokens == one.usage.total_tokens
    turns = [look(), one.choices[0].message, {"role": "user", "content": "sure?"}] if text.strip() else [look()]
    assert client.chat.completions.create(model="lammd", messages=turns, max_tokens=3).choices[0].message.role == "assistant"
    for wrong, error, code in (({"model": "gpt-4o"}, openai.NotFoundError, "model_not_found"),
                               ({"n": 2}, openai.BadRequestError, "invalid_parameter"),
                               ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "invalid_parameter"),
                               ({"messages": [look(url="https://example.org/a.png")]}, openai.BadRequestError, "unsupported_url")):
        try:
            client.chat.completions.create(**{"model": "lammd", "messages": [look()], **wrong})
            raise AssertionError(f"{wrong} was taken")
        except error as e:
            assert e.code == code and e.body["message"], e
    client.close()
