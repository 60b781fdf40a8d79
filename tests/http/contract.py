"""contract.py - openapi.yaml as a judge: is this answer one that was promised?

What the gate or the router says before a call begins (a malformed head, a stranger's Host, a wrong
method, a path that is not there) is promised for all calls together, in the document's prose.
"""
import json
import re

import jsonschema
import yaml

# code -> status, for every call: see "Any call" in openapi.yaml
ANY_CALL = {"header_gate": 400, "unauthorized": 401, "forbidden": 403, "scope_missing": 403, "not_found": 404, "method_not_allowed": 405,
            "body_too_large": 413, "uri_too_long": 414, "unsupported_media_type": 415,
            "headers_too_large": 431, "quota_exceeded": 429, "too_many_connections": 503, "no_memory": 503,
            "queue_full": 503, "draining": 503, "loading": 503}


def figure(text):
    """A float of JSON: one that was cut to what it is worth, and not 0.99929999999999997."""
    digits = re.sub("[eE].*|[-.]", "", text).lstrip("0")
    assert len(digits) <= 15, f"{text}: digits that nobody wrote"
    return float(text)


class Contract:
    def __init__(self, path):
        with open(path) as f:
            self.document = yaml.safe_load(f)
        self.seen = set()  # (method, template, status)
        self.resolver = jsonschema.RefResolver.from_schema(self.document)

    def calls(self):
        return {(method.upper(), template) for template, item in self.document["paths"].items()
                for method in item if method != "parameters"}

    def find(self, method, path):
        method = "GET" if method == "HEAD" else method
        path = path.split("?")[0]
        if path != "/":
            path = path.removesuffix("/")
        for template, item in self.document["paths"].items():
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
            if re.fullmatch(pattern, path) and method.lower() in item:
                return template, item[method.lower()]
        return None, None

    def resolve(self, node):
        while "$ref" in node:
            node = self.resolver.resolve(node["$ref"])[1]
        return node

    def validate(self, value, schema):
        jsonschema.Draft202012Validator(schema, resolver=self.resolver).validate(value)

    def schema(self, name):
        return {"$ref": f"#/components/schemas/{name}"}

    def check(self, method, path, reply):
        assert reply.headers.get("X-Request-Id"), f"{method} {path}: no X-Request-Id"
        if reply.status == 401:
            assert reply.headers.get("WWW-Authenticate", "").startswith("Bearer realm="), "no WWW-Authenticate"
        if reply.status == 429:
            assert reply.headers.get("RateLimit", "").endswith(";r=0"), "no RateLimit"
            assert ";q=" in reply.headers.get("RateLimit-Policy", ""), "no RateLimit-Policy"
        if reply.status in (429, 503):
            assert re.fullmatch("[0-9]+", reply.headers.get("Retry-After", "")), "no Retry-After"
        if reply.type == "application/problem+json" and method != "HEAD":
            problem = json.loads(reply.body, parse_float=figure)
            self.validate(problem, self.schema("Problem"))
            assert problem["status"] == reply.status
            assert problem["instance"] == reply.headers["X-Request-Id"]
            assert problem["error"]["message"] == problem["detail"]
        template, call = self.find(method, path)
        promised = call and call["responses"].get(str(reply.status))
        if not promised:
            code = reply.code
            assert ANY_CALL.get(code) == reply.status, \
                f"{method} {path}: {reply.status} {code} is not promised"
            return
        self.seen.add((method, template, reply.status))
        promised = self.resolve(promised)
        for name, header in promised.get("headers", {}).items():
            if name in reply.headers:
                self.validate(reply.headers[name], header["schema"])
        content = promised.get("content")
        if not content:
            assert not reply.body, f"{method} {path}: a body with {reply.status}"
            return
        assert reply.type in content, f"{method} {path}: {reply.type} is not promised"
        if reply.type == "application/json" and method != "HEAD":
            self.validate(json.loads(reply.body, parse_float=figure), content[reply.type]["schema"])
