"""Work in parts on the cores of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Answer = TypeVar("Answer")


def each(work: Callable[[Part], Answer], parts: Sequence[Part]) -> list[Answer]:
    """`work` done for every part, in order, by as many threads as torch may use, each on one core.

    A thread that is done takes the next part. Torch's own threads wait for one another after every operation, which
    on parts that fit a core's cache takes longer than the operation.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(parts) == 1:
        return [work(part) for part in parts]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(min(threads, len(parts)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, parts))
    finally:
        torch.set_num_threads(threads)
