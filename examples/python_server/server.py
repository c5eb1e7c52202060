"""HTTP service for one `classifier.onnx`, without torch: concurrent requests are labelled in one batch."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aae_toolkit.data.borders import opposite_border
from aae_toolkit.data.preparation import InvertChoice
from aae_toolkit.errors import AaeError
from aae_toolkit.predict.classifier_file import ClassifierFile
from aae_toolkit.predict.decoding import Decoder
from aae_toolkit.predict.image_files import decoder_of

Pixels = NDArray[np.uint8]  # [C, H, W]
Label = tuple[int, list[float]]  # class index, probabilities by class
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM")  # that strangers may send


class Sent(NamedTuple):
    """An image that was sent, with notes on its file."""

    pixels: Pixels
    notes: tuple[str, ...] = ()


class Refused(NamedTuple):
    """An image that cannot be labelled: the reason, and the status of a request without any other image."""

    error: str
    status: int


class Settings(BaseModel):
    """Settings; each is also an environment variable: AAE_MODEL, AAE_THREADS, ..."""

    model: Path = Path("classifier.onnx")
    invert: InvertChoice = "as-trained"  # brightness of image files, as in `aae predict --invert`
    threads: int = Field(os.cpu_count() or 1, gt=0)  # of inference, and as many of decoding
    max_bytes: int = Field(10 * 2**20, gt=0)  # of a request
    max_images: int = Field(64, gt=0)  # of a request
    max_pixels: int = Field(2**24, gt=0)  # of an image, before it is resized
    max_batch: int = Field(64, gt=0)  # images that run together
    max_wait_ms: float = Field(2, ge=0)  # that the first of them waits for others
    max_requests: int = Field(256, gt=0)  # at a time; clients beyond it, or beyond the queue, are told to come back
    max_queue: int = Field(1024, gt=0)  # images that wait
    timeout_s: float = Field(10, gt=0)  # for a request to arrive, and again to be answered


class Batcher:
    """Queue that collects images of concurrent requests and runs them in one batch."""

    def __init__(self, classifier: ClassifierFile, settings: Settings) -> None:  # noqa: D107 - nothing to add
        self._classifier, self._settings = classifier, settings
        self._queue: asyncio.Queue[tuple[Pixels, asyncio.Future[Label]]] = asyncio.Queue()
        self._runner = ThreadPoolExecutor(1)  # one batch at a time: its operators use all threads

    async def label(self, images: list[Pixels]) -> list[Label]:
        """The label of each image, when its batch has run."""
        if self._queue.qsize() + len(images) > self._settings.max_queue:
            raise HTTPException(503, "busy: try again later", {"Retry-After": "1"})
        waiting = [asyncio.get_running_loop().create_future() for _ in images]
        for entry in zip(images, waiting, strict=True):
            self._queue.put_nowait(entry)
        return list(await asyncio.gather(*waiting))

    async def run(self) -> None:
        """Run batches until cancelled."""
        while True:
            batch = [entry for entry in await self._collect() if not entry[1].done()]  # nobody waits for the others
            if not batch:
                continue
            images, waiting = zip(*batch, strict=True)
            try:
                out = await asyncio.get_running_loop().run_in_executor(
                    self._runner, self._classifier.run, np.stack(images)
                )
            except Exception as error:
                for future in waiting:
                    future.cancelled() or future.set_exception(error)
                continue
            for future, *found in zip(waiting, out["label"].tolist(), out["probabilities"].tolist(), strict=True):
                future.cancelled() or future.set_result(tuple(found))

    async def _collect(self) -> list[tuple[Pixels, asyncio.Future[Label]]]:
        batch = [await self._queue.get()]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.max_wait_ms / 1000):
                while len(batch) < self._settings.max_batch:
                    batch.append(await self._queue.get())
        return batch

    def close(self) -> None:
        """Free the session after the running batch."""
        self._runner.shutdown()
        self._classifier.close()


async def receive(request: Request, settings: Settings) -> Request:
    """The request with its body in memory: of bounded size, and come in bounded time."""
    body = bytearray()
    try:
        async with asyncio.timeout(settings.timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > settings.max_bytes:
                    raise HTTPException(413, f"the request has more than {settings.max_bytes} bytes")
    except TimeoutError:
        raise HTTPException(408, f"the request did not arrive within {settings.timeout_s:g} s") from None

    async def replay() -> dict[str, Any]:
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return Request(request.scope, replay)


def read_json(body: bytes) -> Any:
    """Content of JSON; of a key that stands twice, json.loads would leave the first out."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(content := dict(pairs)) < len(pairs):
            raise HTTPException(422, "a key stands twice in the JSON")
        return content

    return json.loads(body, object_pairs_hook=unique)


async def read_items(request: Request, settings: Settings) -> list[Any]:
    """The images as they were sent: encoded files of a form, or what JSON's `images` lists."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    items: Any = None
    if kind == "multipart/form-data":
        try:
            async with request.form(max_files=settings.max_images, max_fields=0) as form:
                items = [await part.read() for _, part in form.multi_items() if not isinstance(part, str)]
        except HTTPException as error:
            status = 413 if error.detail.startswith("Too many files") else 400
            raise HTTPException(status, f"not a form of image files: {error.detail}") from error
    elif kind == "application/json":
        body, loop = await request.body(), asyncio.get_running_loop()
        try:  # long lists take a while, in which others must be heard
            content = await loop.run_in_executor(request.app.state.decoders, read_json, body)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, "the body is not JSON") from error
        items = content.get("images") if isinstance(content, dict) else None
        if items is not None and len(content) > 1:
            raise HTTPException(422, f"unknown keys: {', '.join(sorted(content.keys() - {'images'}))[:200]}")
    else:
        raise HTTPException(415, "send application/json or multipart/form-data")
    if not isinstance(items, list) or not items:
        raise HTTPException(422, 'no images: send {"images": [...]}, or a form with image files')
    if len(items) > settings.max_images:
        raise HTTPException(413, f"more than {settings.max_images} images")
    return items


def from_lists(lists: list[Any], shape: tuple[int, int, int]) -> Pixels:
    """Pixels from nested lists; a single channel may be left out as a level."""
    try:
        pixels = np.array(lists)
    except ValueError:  # lists of several lengths
        pixels = np.empty(0)
    expected = f"expected lists of whole numbers from 0 to 255, of shape {list(shape)}"
    if pixels.shape not in ((shape, shape[1:]) if shape[0] == 1 else (shape,)):
        raise HTTPException(422, f"found shape {list(pixels.shape)}; {expected}")
    kinds = {
        type(one) for one in np.array(lists, dtype=object).ravel().tolist()
    }  # numpy takes true among numbers for 1
    if pixels.dtype.kind not in "iu" or bool in kinds:
        raise HTTPException(422, f"found {'bool' if bool in kinds else pixels.dtype}; {expected}")
    if pixels.min() < 0 or pixels.max() > 255:
        raise HTTPException(422, f"found numbers from {pixels.min()} to {pixels.max()}; {expected}")
    return pixels.astype(np.uint8).reshape(shape)


def from_file(content: bytes | str, decoder: Decoder, settings: Settings) -> Sent:
    """An encoded image, or one in base64, prepared as for training; its size is checked before it is decoded."""
    try:
        file = base64.b64decode(content, validate=True) if isinstance(content, str) else content
        with Image.open(io.BytesIO(file), formats=FORMATS) as header:
            fits = header.width * header.height <= settings.max_pixels
    except (OSError, ValueError, SyntaxError) as error:
        raise HTTPException(422, f"not a whole image in one of {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError:
        fits = False
    if not fits:
        raise HTTPException(413, f"more than {settings.max_pixels} pixels")
    decoded = decoder.decode_content(file, Path("image"))
    if decoded.pixels is None:
        raise HTTPException(422, f"not a whole image in one of {', '.join(FORMATS)}: {decoded.error}")
    return Sent(decoded.pixels, decoded.notes)


def decode(items: list[Any], decoder: Decoder, settings: Settings) -> list[Sent | Refused]:
    """Each image as the model takes it, or why it is refused."""
    return [_decoded(item, decoder, settings) for item in items]


def _decoded(item: Any, decoder: Decoder, settings: Settings) -> Sent | Refused:
    try:
        if isinstance(item, bytes | str):
            return from_file(item, decoder, settings)
        pixels = from_lists(item, decoder.shape)
    except HTTPException as error:
        return Refused(error.detail, error.status_code)
    doubt = opposite_border(pixels, decoder.border)
    return Sent(pixels, (doubt,) if doubt else ())


async def predict(request: Request) -> Response:
    """POST /predict: a label or an error for each image, in their order; an error alone if none can be labelled."""
    state, settings = request.app.state, request.app.state.settings
    if state.slots.locked():
        raise HTTPException(503, "busy: try again later", {"Retry-After": "1"})
    async with state.slots:
        items = await read_items(await receive(request, settings), settings)
        try:
            async with asyncio.timeout(settings.timeout_s):
                loop = asyncio.get_running_loop()
                sent = await loop.run_in_executor(state.decoders, decode, items, state.decoder, settings)
                found = iter(await state.batcher.label(readable(sent)))
        except TimeoutError:
            raise HTTPException(504, f"not answered within {settings.timeout_s:g} s") from None
    names = state.about["class_names"]
    rows = [
        {"error": image.error} if isinstance(image, Refused) else labelled(image, *next(found), names) for image in sent
    ]
    warnings = [
        f"images[{i}]: no number is above 1, and pixels are 0 to 255"
        for i, image in enumerate(sent)
        if isinstance(image, Sent) and isinstance(items[i], list) and image.pixels.max() <= 1
    ]
    return JSONResponse({"predictions": rows} | ({"warnings": warnings} if warnings else {}))


def readable(sent: list[Sent | Refused]) -> list[Pixels]:
    """Pixels of the images that are not refused; raise `HTTPException` with every reason if all are."""
    refused = {index: image for index, image in enumerate(sent) if isinstance(image, Refused)}
    if len(refused) == len(sent):
        reasons = "; ".join(f"images[{index}]: {image.error}" for index, image in refused.items())
        raise HTTPException(refused[0].status, reasons)
    return [image.pixels for image in sent if isinstance(image, Sent)]


def labelled(image: Sent, label: int, probabilities: list[float], names: list[str]) -> dict[str, Any]:
    """Answer for an image: its label, and the notes on its file if there are some."""
    row = {"label": label, "class_name": names[label], "probability": probabilities[label]}
    return row | {"probabilities": probabilities} | ({"notes": image.notes} if image.notes else {})


async def about(request: Request) -> Response:
    """GET /: what the model is, and what may be sent."""
    return JSONResponse(request.app.state.about)


async def healthz(request: Request) -> Response:
    """GET /healthz: 200 while images are labelled."""
    stopped = request.app.state.running.done()
    return JSONResponse({"status": "stopped" if stopped else "ok"}, 503 if stopped else 200)


async def refuse(_: Request, error: Exception) -> Response:
    """Every error is JSON."""
    known = error if isinstance(error, HTTPException) else HTTPException(500, "internal error")
    return JSONResponse({"error": known.detail}, known.status_code, known.headers)


def create_app(settings: Settings | None = None) -> Starlette:
    """Create the service; without settings, they come from the environment."""
    if settings is None:
        given = {name: os.environ.get(f"AAE_{name.upper()}") for name in Settings.model_fields}
        settings = Settings.model_validate({name: value for name, value in given.items() if value})
    classifier = ClassifierFile(settings.model, threads=settings.threads)
    about_model = {"model": classifier.name, "class_names": classifier.class_names}
    decoder = decoder_of(classifier, settings.invert)
    about_model["image_shape"], about_model["preparation"] = decoder.shape, asdict(decoder.preparation)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.settings, app.state.decoder = settings, decoder
        app.state.about = about_model | {"settings": settings.model_dump(exclude={"model"})}
        app.state.batcher = batcher = Batcher(classifier, settings)
        app.state.slots = asyncio.Semaphore(settings.max_requests)
        app.state.decoders = ThreadPoolExecutor(settings.threads)
        app.state.running = asyncio.create_task(batcher.run())
        yield  # the server ends only when the requests that it took are answered
        app.state.running.cancel()
        app.state.decoders.shutdown()
        batcher.close()

    routes = [Route("/", about), Route("/healthz", healthz), Route("/predict", predict, methods=["POST"])]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: refuse, Exception: refuse})


if __name__ == "__main__":
    import uvicorn

    try:
        app = create_app()
    except (AaeError, ValidationError) as error:
        raise SystemExit(f"server.py: {error}") from None
    host, port = os.environ.get("AAE_HOST", "127.0.0.1"), int(os.environ.get("AAE_PORT", "8000"))
    print(f"labelling at http://{host}:{port}/predict", flush=True)
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=30)
