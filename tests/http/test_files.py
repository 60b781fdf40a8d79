"""test_files.py - training data by HTTP: it comes, is checked, read again and deleted.

Hostile files, full disks and clients that leave cost nothing; the official client finds its way.
"""
import errno
import hashlib
import http.client
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time

import lamm
import photos
import state
from lamm import data_url
from suite import SOON, count, wait_for

FILES = "/v1/files"


def tar(*files, form=tarfile.USTAR_FORMAT):
    """Files are (name, bytes) or a TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as t:
        for one in files:
            if isinstance(one, tarfile.TarInfo):
                t.addfile(one)
                continue
            info = tarfile.TarInfo(one[0])
            info.size = len(one[1])
            t.addfile(info, io.BytesIO(one[1]))
    return out.getvalue()


def jsonl(*lines):
    return "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines).encode()


def needs_plain_memory():
    """A sanitizer has more memory than a check may, and keeps what was freed."""
    with open(lamm.PROGRAM, "rb") as f:
        if b"__asan_init" in f.read() or b"__tsan_init" in f.read():
            raise lamm.Skip("the program is built with a sanitizer")


def form(data, purpose="fine-tune", name="pairs.tar"):
    body = b""
    if purpose is not None:
        body += f'--bb\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'.encode()
    if data is not None:
        body += f'--bb\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        body += data + b"\r\n"
    return body + b"--bb--\r\n", {"Content-Type": "multipart/form-data; boundary=bb"}


def send(s, data, **more):
    return s.ask("POST", FILES, *form(data, **more))


def checked(s, data, name="pairs.tar"):
    """The file, once it was looked at."""
    reply = send(s, data, name=name)
    assert reply.status == 200, reply.body
    file = reply.json()
    assert reply.headers["Location"] == f"{FILES}/{file['id']}"
    found = {}

    def is_done():
        found.update(s.ask("GET", f"{FILES}/{file['id']}").json())
        return found["status"] != "uploaded"
    wait_for(is_done)
    return found


def spooled(folder):
    return [n for n in os.listdir(os.path.join(folder.path, "spool")) if not n.startswith("check-")]


def errors(file):
    return [(e["line"], e["field"], e["code"]) for e in file["lammd"]["report"]["errors"]]


def test_a_file_comes_is_checked_read_and_deleted():
    needs_plain_memory()
    data = state.pairs(12)
    with state.Folder() as folder, folder.serve() as s:
        file = checked(s, data, name="C:\\me\\../päirs.tar")
        assert (file["status"], file["filename"], file["bytes"]) == ("processed", "päirs.tar", len(data))
        assert file["lammd"]["sha256"] == hashlib.sha256(data).hexdigest()
        report = file["lammd"]["report"]
        assert report["pictures"] == 12 and report["lines"] > 0 and not report["errors"], report
        path = f"{FILES}/{file['id']}"
        reply = s.ask("GET", path + "/content")
        assert reply.body == data and "filename=" in reply.headers["Content-Disposition"]
        assert not spooled(folder)
        again = send(s, data).json()  # the same bytes are kept once
        assert again["id"] != file["id"] and len(os.listdir(os.path.join(folder.path, "files"))) == 1
        assert s.ask("DELETE", path).json() == {"id": file["id"], "object": "file", "deleted": True}
        for method, at in (("GET", path), ("DELETE", path), ("GET", path + "/content"), ("GET", FILES + "?after=file-0")):
            reply = s.ask(method, at)
            assert (reply.status, reply.code) == (404, "file_not_found"), reply.body
        assert s.ask("GET", f"{FILES}/{again['id']}/content").body == data
        assert s.ask("DELETE", f"{FILES}/{again['id']}").status == 200
        assert not os.listdir(os.path.join(folder.path, "files"))


def test_files_are_listed_by_pages():
    with state.Folder() as folder, folder.serve() as s:
        ids = [send(s, jsonl({"task": "pixels", "image": data_url(photos.png()), "id": i})).json()["id"] for i in range(5)]
        page = s.ask("GET", FILES + "?limit=2").json()
        seen = [f["id"] for f in page["data"]]
        while page["has_more"]:
            page = s.ask("GET", f"{FILES}?limit=2&purpose=fine-tune&order=desc&after={page['last_id']}").json()
            seen += [f["id"] for f in page["data"]]
        assert seen == ids[::-1]
        page = s.ask("GET", FILES + "?limit=2&order=asc").json()
        seen = [f["id"] for f in page["data"]]
        while page["has_more"]:
            page = s.ask("GET", f"{FILES}?limit=2&purpose=fine-tune&order=asc&after={page['last_id']}").json()
            seen += [f["id"] for f in page["data"]]
        assert seen == ids
        assert s.ask("GET", FILES + "?purpose=batch").json()["data"] == []
        assert s.ask("GET", FILES + "?order=asc&after=file-0").code == "file_not_found"
        for query in ("limit=0", "order=up", "before=x"):
            assert s.ask("GET", f"{FILES}?{query}").status == 400


def test_what_is_wrong_is_told_line_by_line():
    needs_plain_memory()
    with state.Folder() as folder, folder.serve() as s:
        url = data_url(photos.png())
        asked = [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]},
                 {"role": "assistant", "content": "a picture"}]
        file = checked(s, jsonl(
            {"messages": asked},
            {"task": "refer", "image": url, "sentence": "all of it", "box": [0, 0, 5000, 5000]},
            {"task": "vqa", "image": "https://example.org/a.png", "question": "q", "answer": "a"},
            {"task": "vqa", "image": url, "question": "[INST] q", "answer": "a"},
            {"task": "pixels", "image": hashlib.sha256(b"another's").hexdigest()},
            {"task": "pixels", "image": "../jobs.db"},
            '{"task": "pixels", "task": "mask"}', "[" * 40, '{"task": "pixels", "image": "data:image/png;base64,AAAA"}',
            {"task": "pixels", "image": url}), name="a.jsonl")
        assert file["status"] == "error" and file["lammd"]["report"]["lines"] == 2
        assert errors(file) == [(2, "box", "box_outside"), (3, "image", "unsupported_url"), (4, "question", "bad_text"),
                                (5, "image", "no_such_picture"), (6, "image", "no_such_picture"), (7, "", "duplicate_key"),
                                (8, "", "not_json"), (9, "image", "bad_picture")], errors(file)
        many = checked(s, jsonl(*({"task": "none"} for _ in range(250))), name="many.jsonl")
        report = many["lammd"]["report"]
        assert len(report["errors"]) == 100 and report["errors_total"] == report["bad"] == 250
        assert folder.path not in json.dumps([file, many])


def test_hostile_files_are_refused_by_the_check():
    link = tarfile.TarInfo("l")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device = tarfile.TarInfo("d")
    device.type = tarfile.CHRTYPE
    one = ("a.png", photos.png())
    all_of = [b"\0", b"\x1f\x8b" + b"x" * 1000, os.urandom(3000), tar(link), tar(device), tar(one, one), tar(("../a.png", b"x")),
              tar(("/a.png", b"x")), tar(("ä.png", b"x"), form=tarfile.PAX_FORMAT),
              tar(("n" * 200, b"x"), form=tarfile.GNU_FORMAT), tar(one)[:700], tar(("a.txt", b"x")),
              tar(("big.png", bytes((12 << 20) + 1))),
              b'{"task":"pixels","image":"data:image/png;base64,' + b"A" * (17 << 20) + b'"}']
    with state.Folder() as folder, folder.serve() as s:
        for data in all_of:
            file = checked(s, data)
            assert file["status"] == "error" and errors(file)[0][0] in (0, 1), file
        assert s.ask("GET", "/livez").status == 200


def test_what_is_no_upload_is_refused():
    data = state.pairs(2)
    with state.Folder() as folder, folder.serve("--upload-mib", "1") as s:
        for body, status, code in ((form(data, purpose="assistants"), 400, "invalid_parameter"), (form(data, purpose="batch"), 403, "scope_missing"),
                                   (form(data, purpose=None), 400, "missing_parameter"),
                                   (form(None), 400, "missing_parameter"), (form(b""), 400, "invalid_parameter"),
                                   ((form(data)[0][:-20], form(data)[1]), 400, "bad_multipart"),
                                   ((form(data)[0][:-8] + form(data)[0], form(data)[1]), 400, "bad_multipart"),
                                   ((data, {"Content-Type": "application/x-tar"}), 415, "unsupported_media_type"),
                                   (form(bytes(3 << 20)), 413, "body_too_large")):
            reply = s.ask("POST", FILES, *body)
            assert (reply.status, reply.code) == (status, code), reply.body
        extra, headers = form(data)
        extra = extra.replace(b'name="purpose"', b'name="colour"')
        assert s.ask("POST", FILES, extra, headers).code == "unknown_parameter"
        wait_for(lambda: not spooled(folder))
        assert s.ask("GET", FILES).json()["data"] == []


def test_a_server_without_a_folder_says_so():
    with state.Folder() as folder, lamm.Server("--keys", folder.keys, model=lamm.TINY) as s:
        key = {"Authorization": f"Bearer {folder.key}"}
        body, headers = form(b"x")
        for method, path, sent, more in (("POST", FILES, body, headers), ("GET", FILES, None, {}), ("GET", FILES + "/file-0", None, {}),
                                         ("DELETE", FILES + "/file-0", None, {}), ("GET", FILES + "/file-0/content", None, {})):
            reply = s.ask(method, path, sent, {**key, **more})
            assert (reply.status, reply.code) == (503, "no_state"), reply.body


def test_the_disk_keeps_its_room():
    free = shutil.disk_usage(tempfile.gettempdir()).free >> 20
    with state.Folder() as folder, folder.serve("--state-free-mib", str(2 * free + 1024)) as s:
        reply = send(s, b"x" * 1000)
        assert (reply.status, reply.code) == (503, "no_space"), reply.body
        assert not spooled(folder)


def test_a_disk_that_fails_in_the_middle():
    """badwrite.c (tests/plugin) lets one call fail, while the file is on its way or at its end."""
    full = "delete files that are not needed"
    data = jsonl({"task": "none"}) * 100_000
    with state.Folder() as folder:
        ways = [("write:3", errno.ENOSPC, "spool", "no_space", full),
                ("write:3", errno.EIO, "spool", "state_unwritable", "the log says why"),
                ("fsync:1", errno.ENOSPC, "files", "state_unwritable", "the log says why"),
                ("fsync:1", errno.ENOSPC, "spool", "no_space", full)]
        for how, number, where, code, advice in ways[:count(3, 4)]:
            env = {**os.environ, "LD_PRELOAD": lamm.built("badwrite.so"), "BADWRITE": f"{how}:{number}",
                   "BADWRITE_FOLDER": os.path.join(folder.path, where)}
            with folder.serve(env=env) as s:
                reply = send(s, data)
                assert (reply.status, reply.code) == (503, code) and advice in reply.json()["detail"], reply.body
                wait_for(lambda: not spooled(folder))
                assert not os.listdir(os.path.join(folder.path, "files")) and s.ask("GET", FILES).json()["data"] == []
                wait_for(lambda: os.strerror(number) in s.log())
                file = send(s, data).json()
                assert s.ask("GET", f"{FILES}/{file['id']}/content").body == data
                assert s.ask("DELETE", f"{FILES}/{file['id']}").status == 200


def test_a_client_that_leaves_costs_nothing():
    with state.Folder() as folder, folder.serve() as s:
        head = (f"POST {FILES} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {folder.key}\r\n"
                "Content-Type: multipart/form-data; boundary=bb\r\nContent-Length: 300000000\r\n\r\n").encode()
        for n in (10, 100000, 7000000):
            with s.connect() as c:
                c.sendall(head + form(bytes(n))[0][:-10])
                wait_for(lambda: spooled(folder))
            wait_for(lambda: not spooled(folder))
        assert s.ask("GET", FILES).json()["data"] == []


def test_a_key_sends_so_many_at_once():
    with state.Folder() as folder, folder.serve("--key-uploads", "1") as s:
        head = (f"POST {FILES} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {folder.key}\r\n"
                "Content-Type: multipart/form-data; boundary=bb\r\nContent-Length: 3000000\r\n\r\n").encode()
        with s.connect() as c:
            c.sendall(head + form(bytes(1000))[0][:-10])
            wait_for(lambda: spooled(folder))
            reply = send(s, b"x")
            assert (reply.status, reply.code) == (429, "quota_exceeded") and "uploads" in reply.json()["detail"]
            assert s.ask("GET", FILES).status == 200
        wait_for(lambda: send(s, jsonl({"task": "none"})).status == 200)


def test_spool_is_emptied_at_the_start():
    with state.Folder() as folder:
        with folder.serve():
            pass
        with open(os.path.join(folder.path, "spool", "left"), "w", encoding="ascii") as f:
            f.write("x")
        with folder.serve():
            assert not spooled(folder)


def test_a_file_of_a_live_job_stays():
    needs_plain_memory()
    with state.Folder() as folder, folder.serve("--launcher", "pull") as s:
        file = checked(s, state.pairs(12))
        job = state.create(s, file["id"], lammd={"steps": 2})["id"]
        reply = s.ask("DELETE", f"{FILES}/{file['id']}")
        assert (reply.status, reply.code) == (409, "file_in_use"), reply.body
        state.act(s, job, "cancel")
        state.wait(s, job)
        assert s.ask("DELETE", f"{FILES}/{file['id']}").status == 200


def test_large_files_go_by_the_memory():
    """64 MiB there and back: the server grows by a few, and answers meanwhile."""
    needs_plain_memory()
    def rss(s):
        with open(f"/proc/{s.process.pid}/status", encoding="ascii") as f:
            return int(next(line for line in f if line.startswith("VmHWM")).split()[1]) >> 10
    with state.Folder() as folder, folder.serve() as s:
        data = os.urandom(64 << 20)
        before = rss(s)
        file = send(s, data).json()
        assert file["lammd"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert s.ask("GET", f"{FILES}/{file['id']}/content").body == data
        assert rss(s) - before < 24, f"{before} MiB before, {rss(s)} at most"


def test_a_file_slower_than_the_body_s_time_still_comes():
    with state.Folder() as folder, folder.serve("--body-timeout", "1") as s:
        connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOON)
        body, headers = form(os.urandom(6 << 20))
        connection.putrequest("POST", FILES)
        for name, value in {**headers, "Authorization": f"Bearer {folder.key}", "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders()
        for at in range(0, len(body), 1 << 20):
            connection.send(body[at:at + (1 << 20)])
            time.sleep(0.4)
        assert connection.getresponse().status == 200
        connection.close()


def test_check_on_the_command_line():
    with tempfile.TemporaryDirectory() as d:
        good, bad = os.path.join(d, "good.tar"), os.path.join(d, "bad.jsonl")
        for path, data in ((good, state.pairs(12)), (bad, jsonl({"task": "none"}))):
            with open(path, "wb") as f:
                f.write(data)
        for path, status, has in ((good, 0, "processed: "), (bad, 1, "line 1: task: "), (os.path.join(d, "none"), 1, "no such file")):
            done = subprocess.run([lamm.PROGRAM, "train", "--check", path], capture_output=True, text=True, timeout=SOON)
            assert done.returncode == status and has in done.stdout, done
        done = subprocess.run([lamm.PROGRAM, "train", "--check"], capture_output=True, text=True, timeout=SOON)
        assert done.returncode == 2


def test_the_openai_client_and_files():
    try:
        import openai
    except ImportError:
        raise lamm.Skip("openai is not installed (pip install openai)")
    data = state.pairs(12)
    with state.Folder() as folder, folder.serve() as s:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key=folder.key, max_retries=0)
        file = client.files.create(file=("pairs.tar", data), purpose="fine-tune")
        assert file.object == "file" and file.filename == "pairs.tar" and file.bytes == len(data)
        done = client.files.wait_for_processing(file.id, poll_interval=0.2, max_wait_seconds=SOON)
        assert done.status == "processed"
        more = [client.files.create(file=(f"{i}.jsonl", jsonl({"task": "none", "id": i})), purpose="fine-tune").id for i in range(3)]
        assert {f.id for f in client.files.list(limit=2)} == {file.id, *more}  # it turns the pages
        assert client.files.retrieve(file.id).id == file.id
        assert client.files.content(file.id).read() == data
        assert client.files.delete(file.id).deleted
        try:
            client.files.retrieve(file.id)
            raise AssertionError("it is still there")
        except openai.NotFoundError as e:
            assert e.code == "file_not_found"
