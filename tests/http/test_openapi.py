"""test_openapi.py - openapi.yaml is sound, and the server does what it says and nothing else.

It runs last: by then every answer of the whole suite has been held against the document, and what
was promised but never seen is told.
"""
import json

import jsonschema

import photos
from lamm import JSON, PNG, Server, contract

# Needs a lost device or an exhausted machine.
NEVER_HERE = {"500"}
# A connection is closed before it can see these, or memory has to run out. Unit tests see them.
RARE = {"GET /readyz 503", "PUT /v1/images 503"}


def start():
    return Server()


def nodes(node, path=()):
    yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from nodes(value, path + (key,))


def test_document_is_sound():
    doc = contract.document
    assert doc["openapi"].startswith("3.1") and doc["info"]["title"] and doc["info"]["version"]
    for path, node in nodes(doc):
        if isinstance(node, dict) and "$ref" in node and isinstance(node["$ref"], str):
            contract.resolver.resolve(node["$ref"])
    for name, schema in doc["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
    ids = [call["operationId"] for item in doc["paths"].values() for call in item.values()]
    assert len(ids) == len(set(ids))
    for template, item in doc["paths"].items():
        for method, call in item.items():
            assert call["summary"] and call["responses"], f"{method} {template}"
            named = {p["name"] for p in map(contract.resolve, call.get("parameters", [])) if p["in"] == "path"}
            assert named == {part[1:-1] for part in template.split("/") if part.startswith("{")}


def test_examples_fit_their_schemas():
    for path, node in nodes(contract.document["paths"]):
        if isinstance(node, dict) and "schema" in node and "examples" in node and path[-1] == "application/json":
            for example in node["examples"].values():
                contract.validate(example["value"], node["schema"])


def test_examples_are_answered(s):
    """What the document shows may be sent as it stands; an id is that of a stored picture."""
    sent = 0
    for template, item in contract.document["paths"].items():
        for method, call in item.items():
            examples = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {})
            for name, example in examples.items():
                value = example["value"]
                if isinstance(value.get("image"), dict):
                    value = {**value, "image": {"id": s.ask("PUT", "/v1/images", photos.png(), PNG).json()["id"]}}
                reply = s.ask(method.upper(), template, json.dumps(value), JSON)
                assert reply.status < 300, f"{template} {name}: {reply.body}"
                sent += 1
    assert sent >= 8


def test_bad_paths_are_documented(s):
    for template, item in contract.document["paths"].items():
        if template.endswith("}"):
            for method, call in item.items():
                for bad in ("%12", "%zz", "%00"):
                    reply = s.ask(method.upper(), template[:template.index("{")] + bad)
                    assert (reply.status, reply.code) == (400, "header_gate") and "400" in call["responses"]


def test_a_slash_at_the_end_is_left_out(s):
    for path in ("/v1/models", "/v1/models/lammd", "/livez", "/openapi.yaml", "/ui/app.js"):
        plain, slash = s.ask("GET", path), s.ask("GET", path + "/")
        assert plain.status == slash.status == 200 and plain.body == slash.body, path
    assert s.ask("GET", "/v1//models").status == s.ask("GET", "/v1/models//").status == 400


def test_every_call_exists_and_takes_no_other_method(s):
    methods = {"GET", "POST", "PUT", "DELETE", "PATCH"}
    for template in contract.document["paths"]:
        path = template.replace("{id}", "0" * 64).replace("{name}", "x").replace("{file}", "app.js")
        promised = {m for m, t in contract.calls() if t == template}
        for method in methods:
            reply = s.ask(method, path)
            assert (reply.status == 405) == (method not in promised), f"{method} {path}: {reply.status}"
            if reply.status == 405:
                assert set(reply.headers["Allow"].split(", ")) - {"HEAD"} == promised
    assert s.ask("GET", "/v1").status == 404


def test_routes_in_metrics_are_those_of_the_document(s):
    import re
    text = s.ask("GET", "/metrics").body.decode()
    routes = set(re.findall(r'route="(/[^"]*)"', text))
    assert routes <= set(contract.document["paths"]), routes - set(contract.document["paths"])


def test_what_is_promised_was_seen():
    if len(contract.seen) < 80:
        return  # only a part of the suite ran
    missing = {f"{method.upper()} {template} {status}" for template, item in contract.document["paths"].items()
               for method, call in item.items() for status in call["responses"]
               if status not in NEVER_HERE and (method.upper(), template, int(status)) not in contract.seen}
    assert missing <= RARE, f"promised, never seen: {missing - RARE}"
