"""Start-up time of `aae predict`, and images a second from a folder.

    python benchmarks/predict.py --export E --data D [--rounds 10] [--images 10000] [--output F.json]

Start: one image, against `python -c "import onnxruntime, numpy, PIL"`, both as processes. Folder: the whole command,
start included, against plain loops in this process, whose imports are not counted: pillow opens a file, the eager
torch model labels it, one file at a time or 64 at once. The rounds of each comparison are interleaved; ratios are of
one round each, so that what else the machine does falls on both sides. Labels must agree before times count.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import nn

from aae_toolkit.bench.intervals import median_interval
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.files import write_json
from aae_toolkit.machine.environment import describe_environment, usable_cores

IMPORTS = [sys.executable, "-c", "import onnxruntime, numpy, PIL"]
PREDICT = [str(Path(sys.executable).with_name("aae")), "predict", "--model"]


def write_images(data: DataDirectory, folder: Path, n: int) -> list[Path]:
    """Write `n` PNG files of the test split, repeated if necessary."""
    images = data.load("test").images
    paths = [folder / f"{index:06}.png" for index in range(n)]
    for index, path in enumerate(paths):
        Image.fromarray(images[index % len(images)].transpose(1, 2, 0).squeeze()).save(path)
    return paths


@torch.inference_mode()
def plain_loop(classifier: nn.Module, paths: Sequence[Path], batch_size: int) -> list[int]:
    labels: list[int] = []
    remaining = iter(paths)
    while batch := list(islice(remaining, batch_size)):
        images = [torch.from_numpy(np.array(Image.open(path)))[None] for path in batch]
        labels += classifier(torch.stack(images))[0].tolist()
    return labels


def seconds(call: Callable[[], object]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def compared(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one uncounted round."""
    taken = [{name: seconds(call) for name, call in calls.items()} for _ in range(rounds + 1)][1:]
    return {name: [of_round[name] for of_round in taken] for name in calls}


def report(taken: dict[str, list[float]], subject: str, n_images: int) -> dict[str, object]:
    """Print each call's median, and the median of its ratios to `subject`; return all."""
    rows: dict[str, object] = {}
    for name, times in taken.items():
        ratios = [other / own for other, own in zip(times, taken[subject], strict=True)]
        interval = median_interval(ratios)
        between = "" if interval is None or name == subject else f" ({interval[0]:.2f}-{interval[1]:.2f})"
        rate = f"  {n_images / median(times):8.0f} images/s" if n_images > 1 else ""
        print(f"{name:24} {median(times):8.3f} s{rate}  {median(ratios):.2f}x{between}  n = {len(times)}")
        rows[name] = {"seconds": times, "median_ratio": median(ratios), "interval": interval}
    return rows


def main(
    export: Annotated[Path, typer.Option(help="Export directory.")],
    data: Annotated[Path, typer.Option(help="Data directory, for its test images.")],
    rounds: int = 10,
    images: Annotated[int, typer.Option(help="Files in the folder.")] = 10000,
    output: Annotated[Path | None, typer.Option(help="JSON file.")] = None,
) -> None:
    """Print both comparisons; ratios are to the plain import, and to `aae predict`."""
    model = export / "classifier.onnx"
    classifier = ExportDirectory.open(export).module("classifier")
    torch.set_num_threads(usable_cores())
    print(f"{usable_cores()} cores, {model.stat().st_size / 1e6:.1f} MB of model")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "images")
        folder.mkdir()
        paths = write_images(DataDirectory(data), folder, images)
        found = Path(temporary, "found.jsonl")

        def run(command: list[str]) -> None:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

        def label_folder() -> None:
            run([*PREDICT, str(model), str(folder), "--output", str(found)])

        label_folder()
        labels = [json.loads(line)["label"] for line in found.read_text().splitlines()]
        assert labels == plain_loop(classifier, paths, 64), "labels differ; see aae parity"
        one_image = [*PREDICT, str(model), str(paths[0])]
        start = {"import": lambda: run(IMPORTS), "aae predict, one image": lambda: run(one_image)}
        of_start = report(compared(start, 2 * rounds), "import", 1)
        loops = {
            "aae predict": label_folder,
            "plain loop": lambda: plain_loop(classifier, paths, 1),
            "plain loop, 64 at once": lambda: plain_loop(classifier, paths, 64),
        }
        of_folder = report(compared(loops, rounds), "aae predict", images)
    if output:
        found_here = {"environment": describe_environment(), "images": images, "start": of_start, "folder": of_folder}
        write_json(output, found_here)


if __name__ == "__main__":
    typer.run(main)
