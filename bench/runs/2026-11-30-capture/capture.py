"""capture.py GATEWAY LOADGEN COUNT: so many POSTs, each with an id and a content of its own, captured by a gateway, sent again by loadgen
straight at a sink, and compared id by id: method, target, content and one field of each."""
import asyncio, hashlib, json, os, random, subprocess, sys, tempfile, time, urllib.request

gateway, loadgen, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
folder = tempfile.mkdtemp(dir="/tmp/op")

def content(n):
    r = random.Random(n)
    size = r.choice([0, 10, 200, 1000, 4000])
    return r.randbytes(size) if n % 2 else ("ä%d " % n * (size // 8)).encode()

def digest(n): return hashlib.sha256(content(n)).hexdigest()

async def sink(seen):
    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                fields = dict((k.lower(), v.strip()) for k, v in (l.split(":", 1) for l in lines[1:] if l))
                assert "transfer-encoding" not in fields, fields
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                seen.append((lines[0], fields.get("x-id"), fields.get("x-plan"), hashlib.sha256(body).hexdigest()))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
    return server.sockets[0].getsockname()[1]

async def send(port, numbers):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    async def read():
        for _ in numbers:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(2)
    reading = asyncio.create_task(read())
    for n in numbers:
        body = content(n)
        writer.write(b"POST /items/%d?n=%d HTTP/1.1\r\nHost: shop.example\r\nX-Id: %d\r\nX-Plan: p%d\r\nContent-Length: %d\r\n\r\n" % (n, n, n, n % 7, len(body)) + body)
        await writer.drain()
    await reading
    writer.close()

async def main():
    first, second = [], []
    v1, v2 = await sink(first), await sink(second)
    os.mkdir(f"{folder}/tape")
    open(f"{folder}/u.toml", "w").write(f'''
[[listener]]
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
[upstream.v1]
endpoints = ["127.0.0.1:{v1}"]
[capture.tape]
to = "{folder}/tape"
compression = "gzip"
file_bytes_max = "16MiB"
[[route]]
path_prefix = "/"
primary = "v1"
mirrors = [{{ capture = "tape" }}]
''')
    process = subprocess.Popen([gateway, f"{folder}/u.toml"], stdout=subprocess.PIPE, stderr=open(f"{folder}/err", "w"), text=True)
    port = admin = None
    while not admin:
        line = process.stdout.readline()
        if line.startswith("listening on "): port = int(line.rsplit(":", 1)[1])
        if line.startswith("admin on "): admin = line.split()[-1]
    began = time.time()
    await asyncio.gather(*(send(port, range(k, count, 4)) for k in range(4)))
    print(f"{count} requests through the gateway in {time.time() - began:.1f} s")
    metrics = lambda: urllib.request.urlopen(f"http://{admin}/metrics").read().decode()
    loop = asyncio.get_running_loop()
    def written(text): return sum(float(l.split()[-1]) for l in text.splitlines() if l.startswith("umbra_capture_requests_total") and 'outcome="written"' in l)
    deadline = time.time() + 60
    while True:
        text = await loop.run_in_executor(None, metrics)
        if written(text) >= count or time.time() > deadline: break
        await asyncio.sleep(0.2)
    print("\n".join(l for l in text.splitlines() if l.startswith(("umbra_capture_requests_total", "umbra_mirror_dropped_total", "umbra_mirror_eligible_total")) and not l.endswith(" 0")))
    process.terminate(); process.wait()
    files = sorted(os.listdir(f"{folder}/tape"))
    print(f"{len(files)} files, {sum(os.path.getsize(f'{folder}/tape/{f}') for f in files)} bytes")
    began = time.time()
    run = await asyncio.create_subprocess_exec(loadgen, "run", "-q", "-t", "1", "-c", "16", "--replay", f"{folder}/tape", "--pace", "2500", f"http://127.0.0.1:{v2}/", stdout=subprocess.PIPE)
    said = (await run.stdout.read()).decode(); await run.wait()
    print(f"replayed in {time.time() - began:.1f} s"); print("\n".join(said.splitlines()[:5]))
    expected = {(f"POST /items/{n}?n={n} HTTP/1.1", str(n), f"p{n % 7}", digest(n)) for n in range(count)}
    for name, seen in [("v1", first), ("replayed", second)]:
        twice, wrong, missing = len(seen) - len(set(seen)), len(set(seen) - expected), len(expected - set(seen))
        print(f"{name}: {len(seen)} requests; twice {twice}, altered {wrong}, missing {missing}")
asyncio.run(main())
