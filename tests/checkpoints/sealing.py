"""The format of files, written a second time: bytes apart and together again, with a valid checksum."""

import hashlib
import json
from typing import Any

import numpy as np

CHECKSUM = "tensormoe.sha256"
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def part(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the tensors' bytes."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header: dict[str, Any], rest: bytes) -> bytes:
    """The file that these make, whether it holds together or not."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def seal(header: dict[str, Any], rest: bytes) -> bytes:
    """The same with the checksum that belongs to it."""
    metadata = {name: value for name, value in header["__metadata__"].items() if name != CHECKSUM}
    text = json.dumps(header | {"__metadata__": metadata}, sort_keys=True)
    metadata[CHECKSUM] = hashlib.sha256(text.encode() + rest).hexdigest()
    return join(header | {"__metadata__": metadata}, rest)


def values(data: bytes) -> dict[str, np.ndarray]:
    """The tensors by name; bfloat16 as bits."""
    header, rest = part(data)
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            tensors[name] = np.frombuffer(rest[start:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors
