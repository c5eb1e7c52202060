"""Throughput and latency of the classifier on every backend. Importing this loads no torch.

    golden ──► session ──► worker ──► run ◄── scenarios, results
                                       │
                               baseline, charts ──► page

Each backend runs in a process of its own, its outputs are held against the export's golden vectors, and a difference is
said with its interval.
"""

from aae_toolkit.bench.results import BenchReport, Measurement
from aae_toolkit.bench.run import bench
from aae_toolkit.bench.scenarios import parse_sizes
from aae_toolkit.bench.session import Effort

__all__ = ["BenchReport", "Effort", "Measurement", "bench", "parse_sizes"]
