"""TOML for schemathesis: a text as it is."""

import schemathesis


@schemathesis.serializer("application/toml")
def toml(context, value):
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else str(value).encode()
