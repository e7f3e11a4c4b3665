"""A gRPC server and a client, by grpcio: `serve [CERT KEY]` prints its port and serves until its standard input ends;
`talk ADDRESS [CA]` makes calls of every kind and prints what came of each."""

import queue
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "peers.All"


def unary(request, context):
    if request == b"fail":
        context.set_trailing_metadata((("x-why", "asked"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as you wish, ä")
    context.send_initial_metadata((("x-first", "1"),))
    context.set_trailing_metadata((("x-last-bin", b"\x00\xff"),))
    return request[::-1]


def gather(requests, _context):
    return b",".join(requests)


def spread(request, _context):
    for n in range(int(request)):
        yield b"%d" % n


def converse(requests, _context):
    for request in requests:
        yield request.upper()


def slow(_request, context):
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(30)
    return b""


def run_server(certificate):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
        "Spread": grpc.unary_stream_rpc_method_handler(spread),
        "Converse": grpc.stream_stream_rpc_method_handler(converse),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if certificate:
        cert, key = (open(path, "rb").read() for path in certificate)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


def own(metadata):
    return sorted((key, value) for key, value in metadata or () if key.startswith("x-"))


def ended(call):
    try:
        call()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def talk(address, ca):
    options = [("grpc.enable_http_proxy", 0), ("grpc.ssl_target_name_override", "shop.example")]
    if ca:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(open(ca, "rb").read()), options)
    else:
        channel = grpc.insecure_channel(address, options)
    path = f"/{SERVICE}/"
    once = channel.unary_unary(path + "Unary")
    answer, call = once.with_call(b"hello", metadata=(("x-mine", "1"),), timeout=30)
    print("unary", answer, own(call.initial_metadata()), own(call.trailing_metadata()))
    for size in [0, 1, 16_384, 1_000_000]:
        content = bytes(n * 31 % 251 for n in range(size))
        assert once(content, timeout=30) == content[::-1], size
    try:
        once(b"fail", timeout=30)
    except grpc.RpcError as error:
        print("fails", error.code().name, error.details(), own(error.trailing_metadata()))
    print("gathered", channel.stream_unary(path + "Gather")(iter([b"a", b"b", b"c"]), timeout=30))
    print("spread", sum(map(int, channel.unary_stream(path + "Spread")(b"1000", timeout=30))))
    asks = queue.Queue()
    answers = channel.stream_stream(path + "Converse")(iter(asks.get, None), timeout=60)
    for n in range(100):
        # The next is said when this one has come back.
        asks.put(b"word %d" % n)
        assert next(answers) == b"WORD %d" % n
    asks.put(None)
    print("conversed", list(answers))
    hang = channel.unary_unary(path + "Slow")
    print("late", ended(lambda: hang(b"", timeout=0.3)))
    given_up = hang.future(b"", timeout=2)
    given_up.cancel()
    print("given up", given_up.code().name)
    print("unknown", ended(lambda: channel.unary_unary(path + "None")(b"", timeout=30)))


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "serve":
        run_server(rest)
    else:
        talk(rest[0], rest[1] if len(rest) > 1 else None)
