"""checkpoints.py - the originals of a model, as their makers publish them, without their libraries.

    tensors = read(path)                                    a safetensors file: name -> Tensor
    write(path, tensors)                                    the same
    torch_zip(path, {"model": tensors, "epoch": 3})         what torch.save writes
    torch_legacy(path, tensors)                             what it wrote before 1.6

Objects that are pickled may hold Tensors anywhere. The pickles come from Python's own pickler, with
classes under torch's names; tests/unit/engine/import has files that torch itself wrote.
"""
import collections
import io
import json
import pickle
import struct
import sys
import types
import zipfile

import numpy as np

TYPES = {"F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2), "BF16": ("BFloat16Storage", 2),
         "I64": ("LongStorage", 8)}
MAGIC = 0x1950a86a20f9469cfc6c


class Tensor:
    """Raw little-endian numbers of a type, row-major."""

    def __init__(self, dtype, shape, raw):
        self.dtype, self.shape, self.raw = dtype, tuple(shape), bytes(raw)
        assert len(self.raw) == int(np.prod(self.shape)) * TYPES[dtype][1], (dtype, shape, len(raw))

    @staticmethod
    def of(values, dtype="F32"):
        values = np.asarray(values, np.float32)
        if dtype == "BF16":  # to nearest, ties to even
            bits = values.view(np.uint32)
            raw = ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype(np.uint16)
        else:
            raw = values.astype(np.float16 if dtype == "F16" else np.float32)
        return Tensor(dtype, values.shape, raw.tobytes())

    def floats(self):
        if self.dtype == "BF16":
            bits = np.frombuffer(self.raw, np.uint16).astype(np.uint32) << 16
            return bits.view(np.float32).reshape(self.shape)
        kind = np.float16 if self.dtype == "F16" else np.float32
        return np.frombuffer(self.raw, kind).astype(np.float32).reshape(self.shape)

    def __eq__(self, other):
        return (self.dtype, self.shape, self.raw) == (other.dtype, other.shape, other.raw)

    def __reduce__(self):
        strides = [int(np.prod(self.shape[i + 1:])) for i in range(len(self.shape))]
        return fake("torch._utils", "_rebuild_tensor_v2"), (
            Storage(self), 0, self.shape, tuple(strides), False, collections.OrderedDict())


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


def fake(module, name):
    """A class of that name, which a pickler finds under it."""
    for part in (module.split(".")[0], module):
        if part not in sys.modules:
            sys.modules[part] = types.ModuleType(part)
    if not hasattr(sys.modules[module], name):
        setattr(sys.modules[module], name, type(name, (), {"__module__": module}))
    return getattr(sys.modules[module], name)


class Pickler(pickle.Pickler):
    def __init__(self, file, protocol, is_legacy):
        super().__init__(file, protocol)
        self.is_legacy, self.keys, self.storages = is_legacy, {}, []

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        t = obj.tensor
        if id(t) not in self.keys:
            self.keys[id(t)] = str(len(self.storages) + 1000 * self.is_legacy)
            self.storages.append((self.keys[id(t)], t))
        name, size = TYPES[t.dtype]
        id_ = ("storage", fake("torch", name), self.keys[id(t)], "cpu", len(t.raw) // size)
        return (*id_, None) if self.is_legacy else id_


def pickled(obj, protocol, is_legacy=False):
    """The bytes, and the storages by key."""
    file = io.BytesIO()
    pickler = Pickler(file, protocol, is_legacy)
    pickler.dump(obj)
    return file.getvalue(), pickler.storages


def torch_zip(path, obj, protocol=2):
    data, storages = pickled(obj, protocol)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        z.writestr("archive/data.pkl", data)
        z.writestr("archive/byteorder", "little")
        for key, t in storages:
            z.writestr(f"archive/data/{key}", t.raw)
        z.writestr("archive/version", "3\n")


def torch_legacy(path, obj, protocol=2):
    data, storages = pickled(obj, protocol, is_legacy=True)
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with open(path, "wb") as f:
        for head in (MAGIC, 1001, facts):
            pickle.dump(head, f, protocol)
        f.write(data)
        pickle.dump(sorted(key for key, _ in storages), f, protocol)
        for _, t in sorted(storages, key=lambda s: s[0]):
            f.write(struct.pack("<q", len(t.raw) // TYPES[t.dtype][1]) + t.raw)


def write(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [at, at + len(t.raw)]}
        at += len(t.raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.raw)


def read(path):
    with open(path, "rb") as f:
        blob = f.read()
    size, = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8:8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        a, b = t["data_offsets"]
        out[name] = Tensor(t["dtype"], t["shape"], blob[8 + size + a:8 + size + b])
    return out
