"""httpbin as a next version that went wrong in three ways, each at one path; everywhere else it is httpbin.

/json      a field says something else, and one is gone
/html      answers 60 ms later
/anything  every fiftieth request fails with 500
"""

import itertools
import json
import threading
import time

from httpbin import app as original

_number = itertools.count(1)
_turn = threading.Lock()


def app(environ, start_response):
    path = environ.get("PATH_INFO", "")
    if path == "/html":
        time.sleep(0.06)
    if path.startswith("/anything"):
        with _turn:
            number = next(_number)
        if number % 50 == 0:
            start_response("500 Internal Server Error", [("Content-Type", "text/plain"), ("Content-Length", "5")])
            return [b"sorry"]
    if path != "/json":
        return original(environ, start_response)
    said = {}

    def remember(status, headers, exc_info=None):
        said["status"], said["headers"] = status, headers

    body = json.loads(b"".join(original(environ, remember)))
    body["slideshow"]["author"] = "Someone Else"
    del body["slideshow"]["date"]
    content = json.dumps(body).encode()
    headers = [(name, value) for name, value in said["headers"] if name.lower() != "content-length"]
    start_response(said["status"], headers + [("Content-Length", str(len(content)))])
    return [content]
