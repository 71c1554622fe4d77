"""The command `tensormoe lab`: the page on this machine alone."""

import socket
import webbrowser
from importlib import import_module

from ..errors import TensorMoEError, non_negative_integer

# Other machines cannot reach it.
HOST, PORT = "127.0.0.1", 8642


def serve(port: int = PORT, *, browser: bool = True) -> None:
    """Serve the page until Ctrl-C, and open it in a browser.

    Args:
        port: where to listen; 0 for any that is free.
        browser: whether to open the page.

    Raises:
        TensorMoEError: something else listens there, or Starlette, uvicorn, Pebble, Matplotlib or networkx
            is missing.
    """
    try:
        import uvicorn

        from .server import make_app

        for name in ("matplotlib", "networkx"):
            import_module(name)
    except ImportError as error:
        remedy = f'it needs more packages ({error}): pip install "tensormoe[lab]"'
        raise TensorMoEError("command", "lab", remedy) from error
    with _listen(port) as listening:
        address = f"http://{HOST}:{listening.getsockname()[1]}/"
        print(f"the lab is at {address} until you press Ctrl-C", flush=True)
        if browser:
            webbrowser.open(address)
        config = uvicorn.Config(make_app(), log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])


def _listen(port: int) -> socket.socket:
    if non_negative_integer("--port", port) > 65_535:
        raise TensorMoEError("--port", port, "pass a port between 1 and 65535, or 0 for any that is free")
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        remedy = f"nothing can listen there ({error}): pass another port, or 0 for any that is free"
        raise TensorMoEError("--port", port, remedy) from error
