"""What a server says of itself: its models, its health, its counts, and the page."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from liquid_mlx._version import __version__
from liquid_mlx.server.errors import APIError
from liquid_mlx.server.state import State

STATIC = Path(__file__).parents[1] / "static"
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


async def models(request: Request) -> Response:
    """All models, whether they are in memory, and what they can draw."""
    found = State.of(request).models
    return JSONResponse({"object": "list", "data": [_model(request, n) for n in found.names]})


async def model(request: Request) -> Response:
    """One model."""
    name = State.of(request).models.name(request.path_params["name"])
    return JSONResponse(_model(request, name))


def _model(request: Request, name: str) -> dict[str, object]:
    found = State.of(request).models
    config = found.configs[name]
    recommended = config.recommended
    return {
        "id": name,
        "object": "model",
        "created": found.started,
        "owned_by": "liquid-mlx",
        "loaded": name in found.loaded,
        "sizes": [str(size) for size in config.sizes],
        "pixels_per_code": config.vqgan.factor,
        "interleaved": config.interleaved,
        "context_length": config.backbone.max_position_embeddings,
        "note": config.note,
        "recommended": {
            "guidance": recommended.guidance,
            "temperature": recommended.temperature,
            "top_k": recommended.top_k,
            "top_p": recommended.top_p,
        },
    }


async def health(request: Request) -> Response:
    """Whether models can be used; 503 while they are loaded."""
    state = State.of(request)
    ready, failed = state.scheduler.ready.is_set(), list(state.models.failed)
    status = "loading" if not ready else "degraded" if failed else "ok"
    loaded = list(state.models.loaded)
    body = {"status": status, "version": __version__, "loaded": loaded, "failed": failed}
    return JSONResponse(body, 200 if ready and len(failed) < len(state.models.names) else 503)


async def metrics(request: Request) -> Response:
    """Counts in Prometheus's text format."""
    state = State.of(request)
    scheduler = state.scheduler
    text = state.metrics.text(scheduler.waiting, scheduler.running, len(state.models.loaded))
    return Response(text, media_type="text/plain; version=0.0.4")


async def page(request: Request) -> Response:
    """The page, and the files that belong to it; no other file has a name here."""
    name = request.path_params.get("name", "index.html")
    files = {file.name: file for file in STATIC.iterdir() if file.suffix in TYPES}
    if name not in files:
        raise APIError(404, "There is nothing of that name.", code="not_found")
    headers = {"Cache-Control": "no-cache"}
    return FileResponse(files[name], media_type=TYPES[files[name].suffix], headers=headers)
