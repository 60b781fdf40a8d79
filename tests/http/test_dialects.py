"""test_dialects.py - clients as they are: a picture has one answer, whoever sends it.

The forms themselves are in tests/unit/server/http/test_multipart.c; here they go over a socket.
"""
import io
import re

import photos
import state
from lamm import PNG, TINY, Server, Skip, contract, multipart

BODY = photos.png()
ASK = "/v1/reconstruct"


def start():
    return Server(model=TINY)


def whole(s):
    return s.ask("POST", ASK + "?width=4&height=3", BODY, PNG).body


def dialects():
    """(client, Content-Type, body)"""
    def form(*parts, boundary="bb", eol=b"\r\n", end=b"--\r\n"):
        line = b"--" + boundary.encode()
        return b"".join(line + eol + head.replace(b"\n", eol) + eol * 2 + data + eol for head, data in parts) + line + end
    fields = ((b"width", b"4"), (b"height", b"3"))
    net = [(b"Content-Type: text/plain; charset=utf-8\nContent-Disposition: form-data; name=" + n, v) for n, v in fields]
    net.append((b"Content-Disposition: form-data; name=image; filename=a.png; filename*=utf-8''a.png", BODY))
    yield ".NET HttpClient", 'multipart/form-data; boundary="bb"', form(*net)
    plain = [(b'Content-Disposition: form-data; name="' + n + b'"\nContent-Transfer-Encoding: 8bit', v) for n, v in fields]
    plain.append((b'Content-Disposition: form-data; name="image"; filename="a.png"\nContent-Transfer-Encoding: binary', BODY))
    yield "Apache HttpClient", "multipart/form-data; boundary=bb; charset=ISO-8859-1", form(*plain)
    yield "JMeter", "multipart/form-data; boundary=bb;", form(*plain)
    tight = [(b'Content-Disposition:form-data;name="' + n + b'"', v) for n, v in (*fields, (b"image", BODY))]
    yield "a sketch", "Multipart/Form-Data;Boundary=bb", form(*tight, end=b"--")
    yield "an epilogue", "multipart/form-data; boundary=bb", b"hello\r\n" + form(*plain, end=b"-- \r\n\r\nmore\r\n")
    yield "Python's email", 'multipart/form-data; boundary="=bb="', form(*tight, boundary="=bb=", eol=b"\n", end=b"--\n")
    yield "one character", "multipart/form-data; boundary=x", form(*plain, boundary="x")
    yield "70 characters", "multipart/form-data; boundary=" + 7 * "0123456789", form(*plain, boundary=7 * "0123456789")


def test_forms(s):
    want = whole(s)
    for client, kind, body in dialects():
        reply = s.ask("POST", ASK, body, {"Content-Type": kind})
        assert reply.status == 200, f"{client}: {reply.body}"
        assert reply.body == want, client


def test_a_file_as_a_field(s):
    """curl -F 'sentence=<file': the line break at the file's end is not the sentence's."""
    want = s.ask("POST", "/v1/refer?sentence=the+red+thing", BODY, PNG).json()
    for text in ("the red thing\n", "the red thing\r\n"):
        body, headers = multipart(("image", BODY), ("sentence", text))
        got = s.ask("POST", "/v1/refer", body, headers).json()
        assert got["sentence"] == "the red thing" and got["box"] == want["box"]
    body, headers = multipart(("image", BODY), ("width", "4\n"), ("height", "3\n"))
    assert s.ask("POST", ASK, body, headers).body == whole(s)


def test_python_clients(s):
    tried = 0
    for name in ("requests", "httpx"):
        try:
            client = __import__(name)
        except ImportError:
            continue
        tried += 1
        reply = client.post(f"http://127.0.0.1:{s.port}{ASK}", files={"image": ("ä.png", io.BytesIO(BODY), "image/png")},
                            data={"width": "4", "height": "3"})
        assert reply.status_code == 200 and reply.content == whole(s), (name, reply.text)
    if not tried:
        raise Skip("neither requests nor httpx is installed")


def test_a_type_without_a_body():
    """.NET's client and others name a type with each request: a call that needs no body has the
    same answer then."""
    kinds = ("application/json", "application/json; charset=utf-8", "multipart/form-data; boundary=x", "text/plain")
    calls = [(method.upper(), re.sub(r"\{\w+\}", "none", path))
             for path, item in contract.document["paths"].items() for method, call in item.items()
             if method != "parameters" and not call.get("requestBody", {}).get("required")]
    calls += [("POST", "/v1/act/sessions?game=car_racing")]
    assert {"GET", "POST", "DELETE"} == {method for method, _ in calls}
    with state.Folder() as folder:
        key = {"Authorization": "Bearer " + folder.new_key("ask,metrics,train,promote,admin")}
        with folder.serve() as s:
            for method, path in calls:
                plain = s.ask(method, path, None, key)
                assert plain.code not in ("unauthorized", "no_state"), (method, path)
                for kind in kinds:
                    for body in (None, b""):
                        reply = s.ask(method, path, body, {**key, "Content-Type": kind})
                        assert (reply.status, reply.code) == (plain.status, plain.code), (method, path, kind, body, reply.body)
            file = folder.file(b"x")
            for status in (200, 404):
                assert s.ask("DELETE", f"/v1/files/{file}", b"", {**key, "Content-Type": kinds[0]}).status == status
            head = f" HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key['Authorization']}\r\nContent-Type: {kinds[0]}\r\n"
            empty = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            for call, behind, word in (("HEAD /v1/files", "\r\n", b" 200 "), ("POST /v1/adapters/rollback", empty, b"nothing_before")):
                got, _ = s.raw(f"{call}{head}Connection: close\r\n{behind}".encode())
                assert word in got, got
