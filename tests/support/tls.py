"""A TLS client that does what curl cannot be asked to: sessions taken from one listener to another, cuts and half-closes.

    tls.py resume CA NAME VERSION ADDRESS ADDRESS [CERT KEY]     the second connection offers the first one's session
    tls.py half-close CA NAME VERSION ADDRESS                    a request, close_notify, and then the answer
    tls.py cut CA NAME VERSION ADDRESS BYTES                     an upload of which BYTES come, then the wire's end alone
    tls.py pieces CA NAME VERSION ADDRESS BYTES                  every record in writes of BYTES
    tls.py parked CA NAME VERSION ADDRESS SECONDS                two requests, with silence between them

Prints one object of JSON.
"""

import json
import socket
import ssl
import sys
import time

mode, ca, name, version, address, *rest = sys.argv[1:]


def context(cert=None, key=None):
    made = ssl.create_default_context(cafile=ca)
    which = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    made.minimum_version = made.maximum_version = which
    if cert:
        made.load_cert_chain(cert, key)
    return made


def dial(to):
    host, port = to.rsplit(":", 1)
    wire = socket.create_connection((host, int(port)), timeout=20)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def ask(stream, path="/"):
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    got = b""
    while b"\r\n\r\n" not in got:
        more = stream.recv(65536)
        if not more:
            return 0
        got += more
    return int(got.split(b" ", 2)[1])


class Bare:
    """A session over a wire that the caller moves bytes on."""

    def __init__(self, made, to, piece=1 << 30):
        self.wire, self.piece = dial(to), piece
        self.inward, self.outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = made.wrap_bio(self.inward, self.outward, server_hostname=name)
        self.until(self.tls.do_handshake)

    def flush(self):
        out = self.outward.read()
        for at in range(0, len(out), self.piece):
            self.wire.sendall(out[at : at + self.piece])

    def until(self, act):
        while True:
            try:
                done = act()
                self.flush()
                return done
            except ssl.SSLWantReadError:
                self.flush()
                more = self.wire.recv(65536)
                if more:
                    self.inward.write(more)
                else:
                    self.inward.write_eof()

    def answer(self):
        got = b""
        while b"\r\n\r\n" not in got:
            try:
                more = self.until(lambda: self.tls.read(65536))
            except ssl.SSLZeroReturnError:
                more = b""
            if not more:
                return 0
            got += more
        return int(got.split(b" ", 2)[1])


def main():
    if mode == "resume":
        # One context, with a certificate or without: what a session is worth is the server's to say.
        made, told = context(*rest[1:3]), {}
        with made.wrap_socket(dial(address), server_hostname=name) as first:
            told["first"] = ask(first)
            session = first.session
        told["has_ticket"] = bool(session and session.has_ticket)
        try:
            with made.wrap_socket(dial(rest[0]), server_hostname=name, session=session) as second:
                told["second"] = ask(second)
                told["reused"] = bool(second.session_reused)
        except (OSError, ValueError) as error:
            told["error"] = str(error)
        return told
    if mode == "half-close":
        bare = Bare(context(), address)
        bare.tls.write(f"GET /slow HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        bare.flush()
        try:
            bare.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        bare.flush()
        return {"status": bare.answer()}
    if mode == "cut":
        bare = Bare(context(), address)
        bare.tls.write(f"POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: 1000\r\n\r\n".encode() + b"x" * int(rest[0]))
        bare.flush()
        bare.wire.shutdown(socket.SHUT_WR)
        return {"status": bare.answer()}
    if mode == "pieces":
        bare = Bare(context(), address, int(rest[0]))
        content = bytes(range(256)) * 80
        bare.tls.write(f"POST / HTTP/1.1\r\nHost: {name}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        bare.flush()
        return {"status": bare.answer()}
    if mode == "parked":
        with context().wrap_socket(dial(address), server_hostname=name) as stream:
            first = ask(stream)
            time.sleep(float(rest[0]))
            return {"first": first, "second": ask(stream)}
    raise SystemExit(f"unknown mode {mode}")


print(json.dumps(main()))
