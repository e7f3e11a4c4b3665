"""A WebSocket server and a client, by the library `websockets`: `serve [CERT KEY]` prints its port and echoes until its
standard input ends, `serve-any` whatever subprotocol is asked for; `talk URL [CA]` talks to an echo and says what came of it."""

import logging
import ssl
import sys
import threading

from websockets.sync.client import connect
from websockets.sync.server import serve


def echo(connection):
    for message in connection:
        if message == "close":
            connection.close(4001, "as you wish")
            return
        connection.send(message)


def run_server(certificate, subprotocols=("chat",)):
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    with serve(echo, "127.0.0.1", 0, ssl=context, max_size=None, subprotocols=list(subprotocols) or None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.socket.getsockname()[1], flush=True)
        sys.stdin.read()
        server.shutdown()


def talk(url, ca):
    context = ssl.create_default_context(cafile=ca) if ca else None
    names = {"server_hostname": "shop.example"} if ca else {}
    options = dict(ssl=context, max_size=None, subprotocols=["chat"], open_timeout=30, **names)
    with connect(url, **options) as connection:
        assert connection.subprotocol == "chat", connection.subprotocol
        sizes = [0, 1, 125, 126, 65_535, 65_536, 1_000_003]
        for size in sizes:
            content = bytes(n * 31 % 251 for n in range(size))
            connection.send(content)
            assert connection.recv(timeout=30) == content, size
            text = "ä" * size
            connection.send(text)
            assert connection.recv(timeout=30) == text, size
        # In fragments, and many at once.
        connection.send(["one ", "two ", "three"])
        assert connection.recv(timeout=30) == "one two three"
        for n in range(500):
            connection.send(f"{n}")
        assert [connection.recv(timeout=30) for _ in range(500)] == [f"{n}" for n in range(500)]
        assert connection.ping().wait(30)
        connection.send("close")
        try:
            connection.recv(timeout=30)
        except Exception as closed:
            print(closed.rcvd.code, closed.rcvd.reason, [e.name for e in connection.protocol.extensions])


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "serve":
        run_server(rest)
    elif mode == "serve-any":
        # Clients that break the protocol are what it is there for.
        logging.disable()
        run_server(rest, ())
    else:
        talk(rest[0], rest[1] if len(rest) > 1 else None)
