"""Out-of-memory errors of all libraries, reported as one line with the setting to lower."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from aae_toolkit.errors import AaeError

# Messages of torch's CPU allocator, CUDA, cuBLAS, C++ and ONNX Runtime, in exceptions other than MemoryError.
_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the host or a GPU is out of memory; does not import torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MESSAGES)


@contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Turn out-of-memory errors into an `AaeError` that ends with `advice`."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise AaeError(f"out of memory; {advice}") from error
        raise
