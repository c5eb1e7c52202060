"""Benchmark of the classifier on every backend, each in a process of its own. Importing it loads no torch.

expected ──► session ──► worker ──► run ◄── scenarios, results
                                     │
                             baseline, charts ──► bench_page
"""

from aae_toolkit.bench.results import BenchReport, Measurement
from aae_toolkit.bench.run import bench
from aae_toolkit.bench.scenarios import parse_sizes
from aae_toolkit.bench.session import Effort

__all__ = ["BenchReport", "Effort", "Measurement", "bench", "parse_sizes"]
