"""Compiled kernels: how they are made, what they take, and how they share a machine.

Kernels are compiled without numba's own parallelism, release the GIL and are spread over Python
threads by `over_rows`. numba's fallback threading layer aborts the process when two threads
enter a parallel kernel at once, which is what a server does; plain threads cannot.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

import numba
import numpy as np

from tailrec.items import Array

_ROWS_PER_TASK = 256

CallableT = TypeVar("CallableT", bound=Callable[..., object])


def compiled(function: CallableT) -> CallableT:
    """The function as machine code, cached on disk, not holding the GIL while it runs."""
    return cast("CallableT", numba.njit(cache=True, nogil=True)(function))


def kernel_view(array: Array, dtype: type[np.generic] | None = None) -> Array:
    """The array as kernels take it: contiguous, of one type (its own where None), read-only.

    numba compiles anew for writable and for read-only input; memory-mapped models are
    read-only, so everything is. Nothing is copied where type and layout already fit.
    """
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


def over_rows(n_rows: int, work: Callable[[slice], None]) -> None:
    """Call `work` on slices that together cover all rows; on threads where there are many."""
    starts = range(0, n_rows, _ROWS_PER_TASK)
    slices = [slice(start, min(start + _ROWS_PER_TASK, n_rows)) for start in starts]
    if len(slices) < 2:
        for rows in slices:
            work(rows)
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, slices))
