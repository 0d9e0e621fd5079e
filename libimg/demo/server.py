"""The page on this machine only: loopback, a list of known paths, a folder of its own."""

import os
import re
import signal
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from libimg._extras import optional
from libimg.demo.page import CSS, build_demo
from libimg.restoration import Restorer

__all__ = ["guarded", "serve"]

HOST = "127.0.0.1"
FILE = "/gradio_api/file="
KNOWN = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?|/(assets|static)/.+|"
    r"/gradio_api/(info|upload|upload_progress|queue/join|queue/data|heartbeat/\w+|reset|cancel)/?"
)
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


def serve(
    restorer: Restorer, *, port: int = 7860, open_browser: bool = False, **limits: Any
) -> None:
    """Show the page of `build_demo` at ``http://127.0.0.1:port/`` until Ctrl-C.

    Nobody else can reach it: there is no way to share it, the address is fixed, and variables of
    the environment that begin with ``GRADIO_`` do not count while it runs. Requests in the name of
    another host or from another page are refused, and so is every path that the page does not
    need. The page fetches nothing from outside and nothing is reported. Files live in a folder of
    its own, which is deleted in the end.

    Args:
        restorer: network and card, as of `libimg.restoration.load_restorer`.
        port: of this machine; 0 takes a free one. The address is printed.
        open_browser: show it at once.
        limits: ``limit_mb``, ``limit_megapixels``, ``limit_files`` of `build_demo`.

    Raises:
        OSError: the port is taken.
        ImportError: gradio is not installed.

    Example:
        >>> from libimg.restoration import load_restorer
        >>> serve(load_restorer())  # doctest: +SKIP
        http://127.0.0.1:7860/ (only from this machine; Ctrl-C ends it)
    """
    with _listening(port) as listener, _environment() as folder:
        app = _application(restorer, folder, listener.getsockname()[1], limits)
        uvicorn = optional("uvicorn", extra="demo")
        settings = {"log_level": "warning", "ws": "none", "timeout_graceful_shutdown": 1}
        server = uvicorn.Server(uvicorn.Config(app, **settings))
        url = f"http://{HOST}:{listener.getsockname()[1]}/"
        print(f"{url} (only from this machine; Ctrl-C ends it)", flush=True)
        if open_browser:
            webbrowser.open(url)  # waits until the server answers: the socket listens already
        with suppress(KeyboardInterrupt), _interruptible():
            server.run(sockets=[listener])


def guarded(app: Any, folder: Path, port: int) -> Any:
    """Wrap an ASGI application: known paths, own files, own host and own pages only.

    Args:
        app: the application.
        folder: files may come from here.
        port: it is asked for on.

    Returns:
        An ASGI application that answers 403 to everything else.
    """
    hosts = {f"{name}:{port}".encode() for name in (HOST, "localhost")}
    origins = {b"http://" + host for host in hosts}
    root = folder.resolve()

    def allowed(scope: Any) -> bool:
        headers = dict(scope["headers"])
        if headers.get(b"host") not in hosts or headers.get(b"origin") not in {None, *origins}:
            return False
        path = scope["path"]
        if path.startswith(FILE):
            return root in Path(path[len(FILE) :]).resolve().parents
        return KNOWN.fullmatch(path) is not None

    async def guard(scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        if scope["type"] == "lifespan" or (scope["type"] == "http" and allowed(scope)):
            await app(scope, receive, answer)
        elif scope["type"] == "http":
            await answer({"type": "http.response.start", "status": 403})
            await answer({"type": "http.response.body", "body": b"refused"})
        else:
            await send({"type": "websocket.close"})

    return guard


def _application(restorer: Restorer, folder: Path, port: int, limits: dict[str, Any]) -> Any:
    gr = optional("gradio", extra="demo")
    fastapi = optional("fastapi", extra="demo")
    page = build_demo(restorer, **limits)
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    app = gr.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        server_name=HOST,
        server_port=port,
        footer_links=[],
        run_history=False,
        root_path="",
        show_error=True,
        max_file_size=int(4e6 * limits.get("limit_mb", 50)),  # below, the page itself says why
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(**fonts),
        css=CSS,
    )
    return guarded(app, folder, port)


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        msg = f"port {port} of {HOST} cannot be had ({error.strerror}); choose another"
        raise OSError(error.errno, msg) from error


@contextmanager
def _environment() -> Iterator[Path]:
    """Hide gradio's variables, and give it a folder that is deleted afterwards."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("GRADIO_")}
    try:
        with tempfile.TemporaryDirectory(prefix="libimg-demo-") as folder:
            os.environ["GRADIO_TEMP_DIR"] = folder
            yield Path(folder)
    finally:
        os.environ.pop("GRADIO_TEMP_DIR", None)
        os.environ.update(kept)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a request to terminate end the server as Ctrl-C does, so that the folder goes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
