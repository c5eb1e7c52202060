"""The place of this process among several training processes, which `torchrun` puts into the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """Number of processes that train together, and this one's rank among all and among those of its host."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """True in the process that prints and writes files."""
        return self.rank == 0


ALONE = World()


def world_from_environment() -> World:
    """Read the world from the environment; `ALONE` if no launcher such as `torchrun` set it."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return ALONE
    return World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
