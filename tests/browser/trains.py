"""trains.py - a real server that trains, for the page's tests: state folder, key, small model.

It is that of tests/http/state.py: lamm-mini with two layers, so a step takes some ten milliseconds.
"""
import json
import os
import sys
import tempfile

from see import ROOT

sys.path += [os.path.join(ROOT, "tests", "http"), os.path.join(ROOT, "tests", "train")]


class Trains:
    """Started when the first test wants it. `url`, `key` (for all), `asking` (may only ask)."""

    def __init__(self):
        self.url = self.folder = self.server = None

    def start(self):
        if not self.url:
            import state
            self.folder = state.Folder()
            self.key = self.folder.new_key("ask,metrics,train,promote")
            self.asking = self.folder.asking
            self.server = self.folder.serve()
            self.url = f"http://127.0.0.1:{self.server.port}"
        return self

    def close(self):
        if self.server:
            self.server.end()
            self.folder.__exit__()


def pairs(n, bad=False):
    """A folder of n pictures with three lines each; `bad`: two lines of them can't be learnt."""
    import shards
    path = os.path.join(tempfile.mkdtemp(prefix="lammd-pairs-"), "tiles")
    shards.pairs(path, n)
    with open(os.path.join(path, "notes.txt"), "w") as f:
        f.write("not for learning\n")
    if bad:
        with open(os.path.join(path, "pairs.jsonl"), "a") as f:
            f.write(json.dumps({"task": "refer", "image": "000.png", "sentence": "the bar", "box": [1, 2, 3]}) + "\n")
            f.write(json.dumps({"task": "vqa", "image": "gone.png", "question": "what?", "answer": "a bar"}) + "\n")
    return path
