"""What h11 and llhttp make of the bytes on stdin: one hexadecimal line each; answers with one line of JSON each."""

import json
import sys

import h11
import llhttp


def by_h11(data):
    """Complete requests, and the error that ended it."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    complete = 0
    try:
        server.receive_data(data)
        while True:
            event = server.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return complete, None
            if isinstance(event, h11.EndOfMessage):
                complete += 1
                server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                server.send(h11.EndOfMessage())
                if server.our_state is not h11.DONE:
                    return complete, None
                server.start_next_cycle()
    except h11.ProtocolError as error:
        return complete, str(error)


class Request(llhttp.Request):
    complete = 0

    def on_message_complete(self):
        self.complete += 1


def by_llhttp(data):
    request = Request()
    try:
        request.execute(data)
    except llhttp.Error as error:
        return request.complete, f"{type(error).__name__} {error}".strip()
    return request.complete, None


for line in sys.stdin:
    data = bytes.fromhex(line)
    print(json.dumps({"h11": by_h11(data), "llhttp": by_llhttp(data)}), flush=True)
