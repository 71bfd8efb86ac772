"""A connection to a server that can be slow, and that can break."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

PIECE_BYTES = 65_536


class Wire:
    """Passes bytes between whoever connects to `port` and a server.

    `bytes_s` slows down what goes to the server (0: as quick as it can); `cut` breaks all connections, and
    while `is_cut` no new one is let through.
    """

    def __init__(self, server_port: int) -> None:
        self.bytes_s = 0
        self.is_cut = False
        self._server_port = server_port
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Few bytes are under way at a time, as over a long distance.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE_BYTES)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def base(self) -> str:
        return f"http://localhost:{self.port}"

    def cut(self) -> None:
        """Break everything that is under way, and let nothing through until `mend`."""
        self.is_cut = True
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                browser, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(browser,), daemon=True).start()

    def _connect(self, browser: socket.socket) -> None:
        if self.is_cut:
            browser.close()
            return
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed means reset
        with closing(browser), socket.create_connection(("127.0.0.1", self._server_port)) as server:
            self._open |= {browser, server}
            back = threading.Thread(target=self._pass_on, args=(server, browser, False), daemon=True)
            back.start()
            self._pass_on(browser, server, True)
            back.join()
            self._open -= {browser, server}

    def _pass_on(self, source: socket.socket, target: socket.socket, is_to_server: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                target.sendall(piece)
                if is_to_server and self.bytes_s and len(piece) > 2048:
                    time.sleep(len(piece) / self.bytes_s)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def wired(server_port: int) -> Iterator[Wire]:
    """Open a wire to a server on this machine."""
    wire = Wire(server_port)
    try:
        yield wire
    finally:
        wire.close()
