"""Load test of examples/python_server: requests/s and latency with and without batching, and answers to bad uploads.

    python benchmarks/server.py --model classifier.onnx --raw-dir data [--clients 32] [--rounds 5] [--output F.json]

Two servers run, one that batches and one that does not; rounds of each take turns, so that what else the machine does
weighs on both. The clients are one process on the same machine, and take their part of its cores; the CPU time is the
server's alone.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from cpu_time import cpu_seconds
from PIL import Image

SERVER = Path(__file__).parent.parent / "examples" / "python_server" / "server.py"
SERVERS = {"batching": {}, "one by one": {"AAE_MAX_BATCH": "1", "AAE_MAX_WAIT_MS": "0"}}
HEAD = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n"


def test_images(raw_dir: Path) -> np.ndarray:
    """MNIST's test images, uint8 [10000, 28, 28]."""
    content = (raw_dir / "MNIST" / "raw" / "t10k-images-idx3-ubyte").read_bytes()
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)


def encoded(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def request(kind: str, body: bytes) -> bytes:
    return HEAD.format(kind, len(body)).encode() + body


def as_upload(image: np.ndarray) -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.png"\r\n\r\n'
    return request("multipart/form-data; boundary=b", part + encoded(image) + b"\r\n--b--\r\n")


def as_lists(*images: np.ndarray) -> bytes:
    return request("application/json", json.dumps({"images": [image.tolist() for image in images]}).encode())


def as_base64(*images: np.ndarray) -> bytes:
    content = {"images": [base64.b64encode(encoded(image)).decode() for image in images]}
    return request("application/json", json.dumps(content).encode())


def workloads(images: np.ndarray) -> dict[str, tuple[int, list[bytes]]]:
    """Images a request, and requests that are sent in turn, by name of the workload."""
    return {
        "one PNG a form": (1, [as_upload(image) for image in images[:256]]),
        "one image as lists": (1, [as_lists(image) for image in images[:256]]),
        "16 PNG in base64": (16, [as_base64(*images[i : i + 16]) for i in range(0, 1024, 16)]),
    }


def bad_requests(image: np.ndarray) -> dict[str, tuple[bytes, int]]:
    """Bad requests with the expected status, by name."""
    large = encoded(np.zeros((5000, 5000), np.uint8))
    return {
        "text as an image": (as_upload(image).replace(b"\x89PNG", b"text"), 422),
        "half a PNG": (
            request(
                "application/json", json.dumps({"images": [base64.b64encode(encoded(image)[:90]).decode()]}).encode()
            ),
            422,
        ),
        "25 megapixels": (
            request("application/json", json.dumps({"images": [base64.b64encode(large).decode()]}).encode()),
            413,
        ),
        "65 images": (as_lists(*[image] * 65), 413),
        "11 MiB": (request("application/json", b" " * (11 * 2**20)), 413),
        "lists of another shape": (as_lists(image[:9]), 422),
        "no JSON": (request("application/json", b"{"), 400),
        "another type": (request("text/plain", b"x"), 415),
    }


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status and the body of one response."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    return int(head[9:12]), await reader.readexactly(int(fields[b"content-length"]))


async def load(port: int, requests: list[bytes], clients: int, seconds: float) -> tuple[list[float], Counter[int]]:
    """Seconds of each answered request, and how many had which status; every client sends its next on an answer."""
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    waiting = cycle(requests)
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (sent := time.perf_counter()) < end:
            writer.write(next(waiting))
            status, _ = await answer(reader)
            latencies.append(time.perf_counter() - sent)
            statuses[status] += 1
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return latencies, statuses


async def send_alone(port: int, content: bytes) -> int:
    """The status of one request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(content)
    status, body = await answer(reader)
    writer.close()
    assert status == 200 or json.loads(body).keys() == {"error"}
    return status


@contextmanager
def serving(model: Path, settings: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Start a server in its own process; yield its port and its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, SERVER], env=os.environ | settings | {"AAE_MODEL": str(model), "AAE_PORT": str(port)}
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


def measure(
    servers: dict[str, tuple[int, int]], images: np.ndarray, clients: int, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Row for each workload and server; ratios are medians over rounds."""
    rows = []
    for name, (n, requests) in workloads(images).items():
        rates: dict[str, list[float]] = {server: [] for server in servers}
        latencies: dict[str, list[float]] = {server: [] for server in servers}
        cpu: dict[str, list[float]] = {server: [] for server in servers}
        statuses: dict[str, Counter[int]] = {server: Counter() for server in servers}
        for turn in range(-1, rounds):  # the first warms up
            for server, (port, process) in servers.items():
                cpu_began = cpu_seconds(process)
                took, found = asyncio.run(load(port, requests, clients, seconds))
                if turn >= 0:
                    rates[server].append(len(took) / seconds)
                    cpu[server].append((cpu_seconds(process) - cpu_began) / len(took))
                    latencies[server] += took
                    statuses[server] += found
        for server in servers:
            p50, p99 = np.percentile(latencies[server], [50, 99]) * 1000
            ratio = statistics.median(a / b for a, b in zip(rates[server], rates["one by one"], strict=True))
            cpu_ratio = statistics.median(a / b for a, b in zip(cpu[server], cpu["one by one"], strict=True))
            rows.append(
                {
                    "workload": name,
                    "server": server,
                    "requests": statuses[server].total(),
                    "requests_per_second": statistics.median(rates[server]),
                    "images_per_second": n * statistics.median(rates[server]),
                    "p50_ms": p50,
                    "p99_ms": p99,
                    "errors": statuses[server].total() - statuses[server][200],
                    "over_one_by_one": ratio,
                    "cpu_us_a_request": 1e6 * statistics.median(cpu[server]),
                    "cpu_over_one_by_one": cpu_ratio,
                }
            )
            print(
                "{workload:20} {server:12} {requests_per_second:8.0f} requests/s {images_per_second:8.0f} images/s  "
                "p50 {p50_ms:6.1f} ms  p99 {p99_ms:6.1f} ms  errors {errors}  {over_one_by_one:.2f}x  "
                "CPU {cpu_us_a_request:6.0f} us a request  {cpu_over_one_by_one:.2f}x".format(**rows[-1])
            )
    return rows


def overload(model: Path, images: np.ndarray) -> dict[str, int]:
    """Send requests of 64 clients to a server whose queue holds four images: each gets an answer, or 503 at once."""
    with serving(model, {"AAE_MAX_QUEUE": "4"}) as (port, _):
        _, statuses = asyncio.run(load(port, [as_lists(image) for image in images[:64]], 64, 2))
    return {str(status): n for status, n in sorted(statuses.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--raw-dir", type=Path, required=True, help="holds MNIST/raw")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="duration of each round, in seconds")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    images = test_images(options.raw_dir)
    with (
        serving(options.model, SERVERS["batching"]) as batching,
        serving(options.model, SERVERS["one by one"]) as alone,
    ):
        rows = measure(
            {"batching": batching, "one by one": alone}, images, options.clients, options.rounds, options.seconds
        )
        refused = {}
        for name, (content, status) in bad_requests(images[0]).items():
            refused[name] = asyncio.run(send_alone(batching[0], content))
            print(f"{name:24} {refused[name]}{'' if refused[name] == status else f', but should be {status}'}")
    full = overload(options.model, images)
    print(f"64 clients, a queue of 4: {full}")
    packages = ("starlette", "uvicorn", "onnxruntime-gpu", "pillow")
    environment = {"cpu": platform.processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    environment |= {package: version(package) for package in packages}
    if options.output:
        result = {
            "environment": environment,
            "clients": options.clients,
            "results": rows,
            "refused": refused,
            "full": full,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
