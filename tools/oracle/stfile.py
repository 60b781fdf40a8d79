"""safetensors files, read and written: a JSON header, then little-endian data without gaps."""
import json
import struct

import numpy as np
import torch

_TORCH = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I32": torch.int32,
          "U8": torch.uint8}
_NAMES = {dtype: name for name, dtype in _TORCH.items()}


def write(path, tensors):
    """tensors: name -> torch tensor, written in this order."""
    header, at, blobs = {}, 0, []
    for name, t in tensors.items():
        raw = t.contiguous().view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": _NAMES[t.dtype], "shape": list(t.shape),
                        "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        blobs.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.writelines(blobs)


def read(path):
    """name -> torch tensor."""
    with open(path, "rb") as f:
        blob = f.read()
    size, = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8:8 + size])
    data = np.frombuffer(bytearray(blob[8 + size:]), dtype=np.uint8)
    out = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        a, b = entry["data_offsets"]
        raw = torch.from_numpy(data[a:b].copy())
        out[name] = raw.view(_TORCH[entry["dtype"]]).reshape(entry["shape"])
    return out
