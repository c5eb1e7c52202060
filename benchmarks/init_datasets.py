"""Time of `aae init-datasets` on photographs, against plain pillow in two processes.

    python benchmarks/init_datasets.py --work-dir photos [--images 10000] [--rounds 5] [--output F.json]

Draws JPEG files of one megapixel with the texture of photographs into the work directory, once: ten classes, no two
with equal pixels. Command: the whole of it, start and writing included. Plain: pillow decodes, converts and resizes in
two processes, whose imports are not counted, and the pixels go into one array. The rounds are interleaved; ratios are
of one round each, so that what else the machine does falls on both sides. Processor time, of all processes, is less
affected by other work, but counts imports on both sides. Pixels must agree before times count.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import PIL
import typer
from numpy.typing import NDArray
from PIL import Image

from aae_toolkit.bench.intervals import median_interval
from aae_toolkit.data.directory import DataDirectory
from aae_toolkit.data.split import SPLITS
from aae_toolkit.files import write_json
from aae_toolkit.machine.environment import cpu_model, describe_environment, usable_cores

WIDTH, HEIGHT = 1154, 866  # one megapixel
CLASSES = 10
QUALITY = 90
PROCESSES = 2
_SCENES, _MARGIN = 200, 128
_MODES = {1: "L", 3: "RGB"}


def scene(seed: int) -> NDArray[np.float32]:
    """Draw a scene, float32 [H, W, 3] in 0-255, with the spectrum of photographs: amplitude falls with frequency."""
    random = np.random.default_rng(seed)
    height, width = HEIGHT + _MARGIN, WIDTH + _MARGIN
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    planes = []
    for _ in range(2):  # light, and colour with less contrast
        spectrum = np.exp(2j * np.pi * random.random(frequency.shape)) / frequency**1.4
        plane = np.fft.irfft2(spectrum, (height, width))
        planes.append(plane / plane.std())
    light, colour = planes
    light = np.where(np.roll(colour, 200, axis=1) > random.normal(), light, light + 1)  # edges of objects
    channels = [light + share * colour for share in random.normal(0, 0.3, 3)]
    noise = random.normal(0, 0.02, light.shape)  # of a sensor
    return np.stack([110 + 50 * (channel + noise) for channel in channels], axis=-1).astype(np.float32)


def draw_files(folder: Path, n: int) -> None:
    """Write `n` files <class>/<number>.jpg, each a part of a scene under its own light, unless they are there."""
    if len(list(folder.glob("*/*.jpg"))) == n:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for label in range(CLASSES):
        (folder / str(label)).mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(min(n, _SCENES)):
        drawn = scene(number)
        for index in range(number, n, _SCENES):
            y, x = random.integers(0, _MARGIN, 2)
            part = drawn[y : y + HEIGHT, x : x + WIDTH] * random.uniform(0.8, 1.2) + random.uniform(-20, 20)
            picture = Image.fromarray(part.clip(0, 255).astype(np.uint8))
            picture.save(folder / str(index % CLASSES) / f"{index:06}.jpg", quality=QUALITY)


def decode(path: Path, channels: int, side: int) -> NDArray[np.uint8]:
    with Image.open(path) as opened:
        picture = opened.convert(_MODES[channels]).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def plain(paths: list[Path], channels: int, side: int) -> NDArray[np.uint8]:
    """Decode and resize files by pillow in two processes: uint8 [N, H, W] or [N, H, W, C]."""
    with multiprocessing.Pool(PROCESSES) as pool:
        return np.stack(list(pool.imap(partial(decode, channels=channels, side=side), paths, chunksize=32)))


def command(folder: Path, data: Path, channels: int, side: int) -> None:
    arguments = ["--data", data, "--source", "folder", "--raw-dir", folder, "--overwrite"]
    arguments += ["--image-size", side, "--channels", channels]
    program = Path(sys.executable).with_name("aae")
    subprocess.run([program, "init-datasets", *map(str, arguments)], check=True, capture_output=True)


def require_equal(data: DataDirectory, expected: NDArray[np.uint8]) -> None:
    """Refuse a data directory whose pictures, in any order, are not those expected."""
    images = np.concatenate([data.load(name).images for name in SPLITS]).transpose(0, 2, 3, 1)
    found = sorted(image.tobytes() for image in images)
    assert found == sorted(image.tobytes() for image in expected), "the command has other pixels than plain pillow"


def timed(call: Callable[[], object]) -> dict[str, float]:
    """Seconds of a call, and seconds of processor time of this process and those that it started and ended."""
    usages = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    start, spent = time.perf_counter(), sum(sum(resource.getrusage(who)[:2]) for who in usages)
    call()
    after = sum(sum(resource.getrusage(who)[:2]) for who in usages)
    return {"seconds": time.perf_counter() - start, "cpu_seconds": after - spent}


def compare(folder: Path, data: Path, channels: int, side: int, rounds: int) -> dict[str, object]:
    """Print the medians and the median ratio, in seconds and in processor time; return all."""
    paths = sorted(folder.glob("*/*.jpg"))
    calls: dict[str, Callable[[], object]] = {
        "aae init-datasets": partial(command, folder, data, channels, side),
        "plain pillow": partial(plain, paths, channels, side),
    }
    command(folder, data, channels, side)
    require_equal(DataDirectory(data), plain(paths, channels, side))
    taken = [{name: timed(call) for name, call in calls.items()} for _ in range(rounds)]
    found: dict[str, object] = {"size": [channels, side, side], "rounds": taken}
    for unit in ("seconds", "cpu_seconds"):
        own, other = ([of_round[name][unit] for of_round in taken] for name in calls)
        ratios = [a / b for a, b in zip(own, other, strict=True)]
        interval = median_interval(ratios)
        found |= {f"{unit}_ratio": median(ratios), f"{unit}_interval": interval}
        between = "" if interval is None else f" ({interval[0]:.2f}-{interval[1]:.2f})"
        medians = "  ".join(f"{name} {median(t):7.2f} s" for name, t in zip(calls, (own, other), strict=True))
        size = f"{channels} x {side} x {side}"
        kind = "wall" if unit == "seconds" else "cpu"
        print(f"{size:13} {kind:4}  {medians}  {median(ratios):.2f}x{between}  n = {rounds}", flush=True)
    return found


def main(
    work_dir: Annotated[Path, typer.Option(help="Directory for the files, about 300 kB each; kept for the next run.")],
    images: Annotated[int, typer.Option(min=CLASSES * 10, help="Number of files.")] = 10000,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    size: Annotated[list[str] | None, typer.Option(help="CHANNELSxSIDE; default: 1x28, 3x64 and 3x224.")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file.")] = None,
) -> None:
    """Print the comparison for each size."""
    folder = work_dir / f"photos-{images}"
    draw_files(folder, images)
    n_bytes = sum(path.stat().st_size for path in folder.glob("*/*.jpg"))
    print(f"{images} JPEG files of {WIDTH} x {HEIGHT}, {n_bytes / images / 1e3:.0f} kB each")
    print(f"{cpu_model()}, {usable_cores()} cores, pillow {PIL.__version__}")
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for text in size or ("1x28", "3x64", "3x224"):
            channels, side = map(int, text.split("x"))
            results.append(compare(folder, Path(temporary, text), channels, side, rounds))
    if output:
        found = {"environment": describe_environment(), "images": images, "bytes": n_bytes, "results": results}
        write_json(output, found)


if __name__ == "__main__":
    typer.run(main)
