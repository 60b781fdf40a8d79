"""test_proxies.py - the recipes of docs/clients.md, as they stand there, in front of a server.

Only ports and TLS are changed. PROXIES names a folder that is looked into besides PATH.
"""
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

import photos
from lamm import PNG, ROOT, Server, Skip, events, multipart
from suite import SOON, wait_for

BODY = photos.png()
PAGE = {"Host": "see.example", "Origin": "https://see.example"}


def recipes(kind):
    with open(os.path.join(ROOT, "docs/clients.md")) as f:
        return re.findall(rf"```{kind}\n(.*?)```", f.read(), re.S)


def program(name):
    where = os.pathsep.join([os.environ.get("PROXIES", ""), os.environ["PATH"], "/usr/sbin"])
    found = shutil.which(name, path=where)
    if not found:
        raise Skip(f"{name} is not installed")
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy:
    """The proxy, started; asked as a browser would ask that has the page of https://see.example."""

    def __init__(self, command, config, port):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "config")
        with open(path, "w") as f:
            f.write(config.replace("FOLDER", self.folder.name))
        self.process = subprocess.Popen([w.replace("CONFIG", path) for w in command], cwd=self.folder.name,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, "HOME": self.folder.name})
        self.port = port

    def __enter__(self):
        end = time.monotonic() + SOON
        while self.process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        raise AssertionError(f"it does not listen: {self.process.stderr.read()}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(SOON)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.folder.cleanup()

    def ask(self, method, path, body=None, headers=()):
        import http.client
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON)
        try:
            c.request(method, path, body=body, headers={**PAGE, **dict(headers)})
            answer = c.getresponse()
            return answer.status, answer.read()
        finally:
            c.close()


def check_page(proxy, below=""):
    wait_for(lambda: proxy.ask("GET", below + "/readyz")[0] == 200)  # its own health check is done
    status, page = proxy.ask("GET", below + "/")
    assert status == 200 and b'src="ui/app.js"' in page
    assert proxy.ask("GET", below + "/ui/app.js")[0] == 200
    status, seen = proxy.ask("POST", below + "/v1/reconstruct?width=4&height=4", BODY, PNG)
    assert status == 200 and seen.startswith(b"\x89PNG"), (status, seen)
    body, kind = multipart(("image", BODY), ("width", "4"), ("height", "4"))
    assert proxy.ask("POST", below + "/v1/reconstruct", body, kind) == (200, seen)
    status, stream = proxy.ask("POST", below + "/v1/reconstruct?width=4&height=4", BODY, {**PNG, "Accept": "text/event-stream"})
    assert status == 200 and [e[0] for e in events(stream)][-1] == "done"
    big = json.dumps({"image": "A" * (15 << 20), "width": 4})
    status, told = proxy.ask("POST", below + "/v1/reconstruct", big, {"Content-Type": "application/json"})
    assert status < 500 and json.loads(told)["error"]["code"] != "body_too_large", (status, told[:200])
    for origin in ("https://evil.example", "null"):
        status, told = proxy.ask("POST", below + "/v1/reconstruct?width=4", BODY, {**PNG, "Origin": origin})
        assert status == 403 and json.loads(told)["error"]["code"] == "forbidden"


NGINX = """daemon off;
master_process off;
pid FOLDER/pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/f;
    uwsgi_temp_path FOLDER/u;
    scgi_temp_path FOLDER/s;
%s}
"""


def nginx(recipe, port, server):
    recipe = re.sub(r"    ssl_certificate.*\n", "", recipe).replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
    return Proxy([program("nginx"), "-p", ".", "-c", "CONFIG"], NGINX % recipe.replace(":8080", f":{server.port}"), port)


def test_nginx_that_passes_the_host():
    recipe, _ = recipes("nginx")
    with Server("--allow-host", "see.example") as s, nginx(recipe, free_port(), s) as proxy:
        check_page(proxy)


def test_nginx_below_a_path():
    _, recipe = recipes("nginx")
    with Server("--allow-origin", "https://see.example") as s, nginx(recipe, free_port(), s) as proxy:
        check_page(proxy, "/lammd")
        assert proxy.ask("GET", "/lammd")[0] == 308


def test_haproxy():
    port, (recipe,) = free_port(), recipes("haproxy")
    with Server("--allow-host", "see.example") as s:
        recipe = re.sub(r"bind :443 .*", f"bind 127.0.0.1:{port}", recipe).replace(":8080", f":{s.port}")
        with Proxy([program("haproxy"), "-db", "-f", "CONFIG"], recipe, port) as proxy:
            check_page(proxy)


def test_caddy():
    port, (recipe,) = free_port(), recipes("caddy")
    with Server("--allow-host", "see.example") as s:
        recipe = "{\n    admin off\n}\n" + recipe.replace("see.example {", f"http://see.example:{port} {{").replace(":8080", f":{s.port}")
        with Proxy([program("caddy"), "run", "--adapter", "caddyfile", "--config", "CONFIG"], recipe, port) as proxy:
            check_page(proxy)
