"""A TLS client that breaks every rule it can: malformed records before a session, unexpected ones inside of it.

    tls_hostile.py NAME ADDRESS [CASE]

Prints one object of JSON a case: its name, its kind, and how it ended: "served" (the request in it was answered with 200),
"alert N", "closed", or "open" (neither within PATIENCE seconds). Sessions are tlslite-ng's, whose writer can be bent.
"""

import json
import os
import socket
import struct
import sys

from tlslite import HandshakeSettings, TLSConnection
from tlslite.extensions import TLSExtension
from tlslite.messages import ClientHello, Message
from tlslite.errors import TLSError

name, address, *only = sys.argv[1:]
PATIENCE = 20
REQUEST = b"GET /hostile HTTP/1.1\r\nHost: " + name.encode() + b"\r\n\r\n"
ALERT, HANDSHAKE, DATA, CCS = 21, 22, 23, 20


def dial():
    host, port = address.rsplit(":", 1)
    wire = socket.create_connection((host, int(port)), timeout=PATIENCE)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def record(kind, payload, version=0x0301, length=None):
    return struct.pack("!BHH", kind, version, len(payload) if length is None else length) + payload


def vector(size, payload):
    return len(payload).to_bytes(size, "big") + payload


def extension(kind, payload):
    return struct.pack("!H", kind) + vector(2, payload)


def server_name(host):
    return extension(0, vector(2, b"\0" + vector(2, host)))


GROUPS = extension(10, vector(2, struct.pack("!HH", 29, 23)))
SIGNATURES = extension(13, vector(2, struct.pack("!HHH", 0x0403, 0x0804, 0x0807)))
VERSIONS = extension(43, vector(1, struct.pack("!H", 0x0304)))
SHARE = extension(51, vector(2, struct.pack("!H", 29) + vector(2, os.urandom(32))))
SUITES = struct.pack("!HHH", 0x1301, 0x1302, 0x1303)
ALPN = extension(16, vector(2, vector(1, b"http/1.1")))
USUAL = (server_name(name.encode()), GROUPS, SIGNATURES, VERSIONS, SHARE)


def hello(extensions=USUAL, version=0x0303, session=b"", suites=SUITES, compression=b"\0", kind=1, length=None, tail=b""):
    body = struct.pack("!H", version) + os.urandom(32) + vector(1, session) + vector(2, suites) + vector(1, compression)
    if extensions is not None:
        body += vector(2, b"".join(extensions))
    body += tail
    return bytes([kind]) + (len(body) if length is None else length).to_bytes(3, "big") + body


def end_of(wire):
    """How the gateway ends a connection whose records are in the clear."""
    got = b""
    try:
        while True:
            more = wire.recv(65536)
            if not more:
                break
            got += more
    except ConnectionError:
        pass
    except TimeoutError:
        return "open"
    while len(got) >= 5:
        kind, _, length = struct.unpack("!BHH", got[:5])
        if kind == ALERT and length == 2:
            return f"alert {got[6]}"
        got = got[5 + length :]
    return "closed"


def raw(*writes, shut=False):
    def run():
        with dial() as wire:
            try:
                for write in writes:
                    wire.sendall(write)
                if shut:
                    wire.shutdown(socket.SHUT_WR)
            except ConnectionError:
                pass
            return end_of(wire)

    return run


def without(kind):
    return tuple(each for each in USUAL if each[:2] != struct.pack("!H", kind))


def hello_with(*more, drop=None, **keys):
    base = USUAL if drop is None else without(drop)
    return raw(record(HANDSHAKE, hello((*base, *more), **keys)))


class Bent:
    """A socket whose next write is changed by `bend`."""

    def __init__(self, wire):
        self.wire, self.bend = wire, None

    def send(self, data):
        if self.bend:
            bend, self.bend = self.bend, None
            self.wire.sendall(bend(bytes(data)))
            return len(data)
        return self.wire.send(data)

    def sendall(self, data):
        while data:
            data = data[self.send(data) :]

    def __getattr__(self, what):
        return getattr(self.wire, what)


def session(version, act, resumed=None):
    """`act(tls, wire)` inside of a session; what comes of it."""

    def run():
        with dial() as bare:
            wire = Bent(bare)
            tls = TLSConnection(wire)
            tls.closeSocket = False
            settings = HandshakeSettings()
            settings.minVersion = settings.maxVersion = version
            tls.handshakeClientCert(serverName=name, settings=settings)
            try:
                act(tls, wire)
                return answer(tls)
            except TLSError as error:
                alert = getattr(error, "description", None)
                return f"alert {alert}" if alert is not None else "closed"
            except ConnectionError:
                return "closed"
            except TimeoutError:
                return "open"

    return run


def answer(tls):
    got = b""
    while b"\r\n\r\n" not in got:
        more = tls.recv(65536)
        if not more:
            return "closed"
        got += more
    return "served" if got.split(b" ", 2)[1] == b"200" else "refused"


def put(tls, kind, payload):
    for _ in tls._recordLayer.sendRecord(Message(kind, bytearray(payload))):
        pass


def then_ask(*records):
    """These records inside of the session, then a request."""

    def act(tls, _):
        for kind, payload in records:
            put(tls, kind, payload)
        tls.send(REQUEST)

    return act


def flipped(at):
    def act(tls, wire):
        def bend(data):
            changed = bytearray(data)
            changed[at] ^= 1
            return bytes(changed)

        wire.bend = bend
        tls.send(REQUEST)

    return act


def shortened(tls, wire):
    wire.bend = lambda data: data[:3] + (int.from_bytes(data[3:5], "big") - 1).to_bytes(2, "big") + data[5:]
    tls.send(REQUEST)


def around(before=b"", behind=b""):
    """Bytes in the clear around a request that is sealed."""

    def act(tls, wire):
        wire.bend = lambda data: before + data + behind
        tls.send(REQUEST)

    return act


def twice(tls, wire):
    wire.bend = lambda data: data + data
    tls.send(REQUEST.replace(b"/hostile", b"/twice"))
    answer(tls)


def key_update(tls, _):
    for each in tls.send_keyupdate_request(1):
        pass
    tls.send(REQUEST)


def in_bytes(tls, wire):
    def bend(data):
        for at in range(len(data)):
            wire.wire.sendall(data[at : at + 1])
        return b""

    wire.bend = bend
    tls.send(REQUEST)


def a_byte_a_record(tls, _):
    for at in range(len(REQUEST)):
        put(tls, DATA, REQUEST[at : at + 1])


def data_behind_close(tls, _):
    put(tls, ALERT, b"\1\0")
    tls.send(REQUEST)


def hello_bytes(tls):
    fresh = ClientHello().create((3, 3), bytearray(32), bytearray(0), [0x1301], extensions=[TLSExtension().create(0, bytearray())])
    return bytes(fresh.write())


def again(tls, _):
    put(tls, HANDSHAKE, hello_bytes(tls))
    tls.send(REQUEST)


def cut_hello(at):
    whole = record(HANDSHAKE, hello())
    return raw(whole[:at], shut=True)


def split_hello(size):
    """The hello in records of `size` bytes; the handshake goes on, so what ends it is our silence."""
    whole = hello()
    parts = [record(HANDSHAKE, whole[at : at + size]) for at in range(0, len(whole), size)]
    return raw(b"".join(parts), shut=True)


MANY = extension(0x1234, b"x" * 8)
CASES = [
    # Before there is a session: bytes in the clear.
    ("zeros", "refused", raw(b"\0" * 64)),
    ("a record of no known type", "refused", raw(record(99, b"hello"))),
    ("heartbeat first", "refused", raw(record(24, b"\1\x40\0"))),
    ("data first", "refused", raw(record(DATA, REQUEST))),
    ("an alert first", "refused", raw(record(ALERT, b"\2\x28"))),
    ("an alert of three bytes", "refused", raw(record(ALERT, b"\1\0\0"))),
    ("change cipher spec first", "refused", raw(record(CCS, b"\1"), record(DATA, REQUEST))),
    ("change cipher spec of two", "refused", raw(record(CCS, b"\2"))),
    ("a thousand change cipher specs", "refused", raw(record(CCS, b"\1") * 1000)),
    ("an empty handshake record", "refused", raw(record(HANDSHAKE, b""), shut=True)),
    ("a thousand empty handshake records", "refused", raw(record(HANDSHAKE, b"") * 1000, shut=True)),
    ("a record longer than any may be", "refused", raw(record(HANDSHAKE, b"\1" * 18500))),
    ("a record that says 65,535", "refused", raw(record(HANDSHAKE, hello(), length=65535), b"x" * 66000)),
    ("SSL 2", "refused", raw(b"\x80\x2e\1\0\2\0\x15\0\0\0\x10" + b"\1\0\x80" * 7 + b"y" * 16)),
    ("SSL 3", "refused", raw(record(HANDSHAKE, hello(None, version=0x0300), version=0x0300))),
    ("a record of version 9.9", "refused", raw(record(HANDSHAKE, hello(), version=0x0909))),
    ("TLS 1.0 alone", "refused", raw(record(HANDSHAKE, hello((server_name(name.encode()), GROUPS), version=0x0301)))),
    ("a hello of 16 MB announced", "refused", raw(record(HANDSHAKE, hello(length=0xFFFFFF)), record(HANDSHAKE, b"z" * 16000) * 16)),
    ("a hello longer than itself", "refused", raw(record(HANDSHAKE, hello(length=8)))),
    ("a hello with a tail", "refused", raw(record(HANDSHAKE, hello(tail=b"tail")))),
    ("a server's hello", "refused", raw(record(HANDSHAKE, hello(kind=2)))),
    ("finished first", "refused", raw(record(HANDSHAKE, b"\x14\0\0\x20" + b"f" * 32))),
    ("certificate first", "refused", raw(record(HANDSHAKE, b"\x0b\0\0\4\0\0\0\0"))),
    ("key update first", "refused", raw(record(HANDSHAKE, b"\x18\0\0\1\1"))),
    ("a handshake of no known type", "refused", raw(record(HANDSHAKE, b"\xfe\0\0\0"))),
    ("no suites", "refused", hello_with(suites=b"")),
    ("half a suite", "refused", hello_with(suites=b"\x13")),
    ("suites that are none", "refused", hello_with(suites=b"\xfa\xfa")),
    ("a session of 200 bytes", "refused", hello_with(session=b"s" * 200)),
    ("no compression at all", "refused", hello_with(compression=b"")),
    ("compression", "refused", hello_with(compression=b"\1")),
    ("the same extension twice", "refused", hello_with(VERSIONS)),
    ("a name twice", "refused", hello_with(extension(0, vector(2, (b"\0" + vector(2, b"a.example")) * 2)), drop=0)),
    ("an empty name", "refused", hello_with(server_name(b""), drop=0)),
    ("a name with NUL", "refused", hello_with(server_name(b"shop.example\0.evil"), drop=0)),
    ("a name of 60,000 bytes", "refused", raw(b"".join(record(HANDSHAKE, part) for part in (lambda h: [h[i : i + 16000] for i in range(0, len(h), 16000)])(hello((*without(0), server_name(b"n" * 60000))))))),
    ("a name whose length lies", "refused", hello_with(extension(0, b"\0\xff\0\0\3abc"), drop=0)),
    ("no names of protocols", "refused", hello_with(extension(16, vector(2, b"")))),
    ("an empty name of a protocol", "refused", hello_with(extension(16, vector(2, vector(1, b""))))),
    ("only protocols of others", "refused", hello_with(extension(16, vector(2, vector(1, b"spdy/3") + vector(1, b"h3"))))),
    ("no groups", "refused", hello_with(extension(10, vector(2, b"")), drop=10)),
    ("no signatures", "refused", hello_with(extension(13, vector(2, b"")), drop=13)),
    ("no extension of signatures", "refused", hello_with(drop=13)),
    ("a draft's version", "refused", hello_with(extension(43, vector(1, b"\x7f\x1c")), drop=43)),
    ("no versions", "refused", hello_with(extension(43, vector(1, b"")), drop=43)),
    ("a key share of no bytes", "refused", hello_with(extension(51, vector(2, struct.pack("!H", 29) + vector(2, b""))), drop=51)),
    ("a key share of zeros", "refused", hello_with(extension(51, vector(2, struct.pack("!H", 29) + vector(2, b"\0" * 32))), drop=51)),
    ("the same key share twice", "refused", hello_with(extension(51, vector(2, (struct.pack("!H", 29) + vector(2, b"k" * 32)) * 2)), drop=51)),
    ("a key share of a group that was not offered", "refused", hello_with(extension(51, vector(2, struct.pack("!H", 24) + vector(2, b"\4" + b"k" * 96))), drop=51)),
    ("a point that is on no curve", "refused", hello_with(extension(51, vector(2, struct.pack("!H", 23) + vector(2, b"\4" + b"k" * 64))), drop=51)),
    ("early data without a ticket", "refused", raw(record(HANDSHAKE, hello((*USUAL, extension(42, b"")))), record(DATA, b"e" * 100), shut=True)),
    ("a ticket of zeros that is not the last extension", "refused", hello_with(extension(41, vector(2, vector(2, b"\0" * 8) + b"\0" * 4) + vector(2, vector(1, b"\0" * 32))), MANY)),
    ("a ticket of zeros without its modes", "refused", hello_with(extension(41, vector(2, vector(2, b"\0" * 8) + b"\0" * 4) + vector(2, vector(1, b"\0" * 32))))),
    ("extensions whose length lies", "refused", raw(record(HANDSHAKE, hello(None, tail=b"\xff\xff" + VERSIONS)))),
    ("a hello cut in its first byte", "refused", cut_hello(1)),
    ("a hello cut behind its record's head", "refused", cut_hello(5)),
    ("a hello cut before its last byte", "refused", cut_hello(-1)),
    ("two hellos", "refused", raw(record(HANDSHAKE, hello()) * 2)),
    ("a hello, and data in the clear", "refused", raw(record(HANDSHAKE, hello()), record(DATA, REQUEST))),
    ("a hello, and a request in the clear", "refused", raw(record(HANDSHAKE, hello()), REQUEST)),
    ("a hello, and finished in the clear", "refused", raw(record(HANDSHAKE, hello()), record(HANDSHAKE, b"\x14\0\0\x20" + b"f" * 32))),
    ("a second share asked for, and the first hello again", "refused", raw(record(HANDSHAKE, hello((*without(51), extension(51, vector(2, b""))))), record(HANDSHAKE, hello((*without(51), extension(51, vector(2, b""))))))),
    ("a hello in records of one byte", "refused", split_hello(1)),
    # Inside of a session.
    ("1.3, an honest request", "served", session((3, 4), then_ask())),
    ("1.2, an honest request", "served", session((3, 3), then_ask())),
    ("1.3, a byte a record", "served", session((3, 4), a_byte_a_record)),
    ("1.2, a byte a record", "served", session((3, 3), a_byte_a_record)),
    ("1.3, a byte a segment", "served", session((3, 4), in_bytes)),
    ("1.3, keys renewed", "served", session((3, 4), key_update)),
    ("1.3, ten empty records of data", "served", session((3, 4), then_ask(*[(DATA, b"")] * 10))),
    ("1.3, a flipped bit of content", "refused", session((3, 4), flipped(7))),
    ("1.3, a flipped bit of the tag", "refused", session((3, 4), flipped(-1))),
    ("1.3, a record a byte shorter than it says", "refused", session((3, 4), shortened)),
    ("1.2, a flipped bit of content", "refused", session((3, 3), flipped(20))),
    ("1.2, a flipped bit of the type", "refused", session((3, 3), flipped(0))),
    ("1.3, a record in the clear before", "refused", session((3, 4), around(before=record(DATA, REQUEST, 0x0303)))),
    ("1.3, a request in the clear before", "refused", session((3, 4), around(before=REQUEST))),
    ("1.2, a record in the clear before", "refused", session((3, 3), around(before=record(DATA, REQUEST, 0x0303)))),
    ("1.3, change cipher spec within", "refused", session((3, 4), around(before=record(CCS, b"\1", 0x0303)))),
    ("1.3, a record longer than any may be", "refused", session((3, 4), around(before=record(DATA, b"l" * 16641, 0x0303)))),
    ("1.3, a hello within", "refused", session((3, 4), again)),
    ("1.2, a hello within", "refused", session((3, 3), again)),
    ("1.3, finished within", "refused", session((3, 4), then_ask((HANDSHAKE, b"\x14\0\0\x20" + b"f" * 32)))),
    ("1.3, a ticket from the client", "refused", session((3, 4), then_ask((HANDSHAKE, b"\4\0\0\x0d" + b"\0\0\0\1" + b"\0\0\0\0" + b"\0" + b"\0\0" + b"\0\0")))),
    ("1.3, a certificate wanted of the server", "refused", session((3, 4), then_ask((HANDSHAKE, b"\x0d\0\0\3\0\0\0")))),
    ("1.3, a certificate unasked", "refused", session((3, 4), then_ask((HANDSHAKE, b"\x0b\0\0\4\0\0\0\0")))),
    ("1.3, keys renewed in a way of its own", "refused", session((3, 4), then_ask((HANDSHAKE, b"\x18\0\0\1\7")))),
    ("1.3, half a message of the handshake, then data", "refused", session((3, 4), then_ask((HANDSHAKE, b"\x18\0\0")))),
    ("1.3, a handshake of no known type", "refused", session((3, 4), then_ask((HANDSHAKE, b"\xfe\0\0\0")))),
    ("1.3, an empty record of the handshake", "any", session((3, 4), then_ask((HANDSHAKE, b"")))),
    ("1.3, a record of no known type", "refused", session((3, 4), then_ask((99, b"?")))),
    ("1.3, heartbeat", "refused", session((3, 4), then_ask((24, b"\1\x40\0")))),
    ("1.3, a hundred thousand empty records of data", "any", session((3, 4), then_ask(*[(DATA, b"")] * 100_000))),
    ("1.3, five hundred renewals of keys", "any", session((3, 4), lambda tls, _: ([[None for _ in tls.send_keyupdate_request(0)] for _ in range(500)], tls.send(REQUEST)))),
    ("1.3, an alert that is fatal", "refused", session((3, 4), then_ask((ALERT, b"\2\x28")))),
    ("1.3, an alert of no bytes", "refused", session((3, 4), then_ask((ALERT, b"")))),
    ("1.2, a thousand warnings", "refused", session((3, 3), then_ask(*[(ALERT, b"\1\x64")] * 1000))),
    ("1.3, data behind the end", "refused", session((3, 4), data_behind_close)),
    ("1.3, each record twice", "refused", session((3, 4), twice)),
]

for case, kind, run in CASES:
    if only and only[0] not in case:
        continue
    try:
        ended = run()
    except (TLSError, ConnectionError) as error:
        ended = f"closed ({type(error).__name__}: {error})"
    except TimeoutError:
        ended = "open"
    print(json.dumps({"case": case, "kind": kind, "ended": ended}), flush=True)
