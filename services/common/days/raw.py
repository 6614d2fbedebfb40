"""The bytes of an array, for a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def raw(array: NDArray[Any]) -> memoryview:
    """The bytes of an array of any shape and dtype in C order; copied only where it is not contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
