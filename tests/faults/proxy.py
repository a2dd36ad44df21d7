"""A way to a server that can be cut, as networks are."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress


class Proxy:
    """Passes every connection to its own port on to a server."""

    def __init__(self, listener: socket.socket, server: tuple[str, int]) -> None:
        """listener: takes connections. server: host and port to pass them on to."""
        self.port: int = listener.getsockname()[1]
        self._listener, self._server = listener, server
        self._threads = [threading.Thread(target=self._accept)]
        self._open = set[socket.socket]()
        self._threads[0].start()

    def cut(self) -> int:
        """Cut every connection, without a word to either side; returns how many there were."""
        clients = list(self._open)
        for client in clients:
            _shut(client)
        return len(clients)

    def close(self) -> None:
        """Take no more connections, cut those there are, and wait for the threads."""
        _shut(self._listener)
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._pass_on, args=(client,)))
                self._threads[-1].start()

    def _pass_on(self, client: socket.socket) -> None:
        self._open.add(client)
        with suppress(OSError), closing(client), closing(socket.create_connection(self._server)) as server:
            other = {client: server, server: client}
            while True:
                for source in select.select([client, server], [], [])[0]:
                    received = source.recv(65536)
                    if not received:
                        raise ConnectionResetError
                    other[source].sendall(received)
        self._open.discard(client)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy_to(server: tuple[str, int]) -> Iterator[Proxy]:
    """A proxy for the time of a block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(listener, server)
        try:
            yield proxy
        finally:
            proxy.close()
