"""A small web server on this machine whose faults can be chosen, and archives for it to serve."""

import io
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves `files`, {path: bytes}; `seen` lists (path, Range header or None) of each request.

    cuts: of each response in turn, how many bytes are sent before the connection is closed; then whole ones.
    statuses: of each response in turn, its status instead of a body. ranges: whether the server knows them.
    length: whether it tells the length. pause: seconds before every 10,000 bytes.
    """

    def __init__(self, files):
        self.files, self.seen = files, []
        self.cuts, self.statuses, self.ranges, self.length, self.pause, self.headers = [], [], True, True, 0, {}

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"told": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        told, asked = self.told, self.headers.get("Range")
        told.seen.append((self.path, asked))
        if told.statuses or self.path not in told.files:
            return self.send_error(told.statuses.pop(0) if told.statuses else 404)
        body, start = told.files[self.path], 0
        if asked and told.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start < len(body) else 416)
            extent = f"{start}-{len(body) - 1}" if start < len(body) else "*"
            self.send_header("Content-Range", f"bytes {extent}/{len(body)}")
        else:
            self.send_response(200)
        if told.length:
            self.send_header("Content-Length", str(len(body) - start))
        for name, value in told.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(body[start:][: told.cuts.pop(0) if told.cuts else None])

    def _send(self, rest):
        try:
            for at in range(0, len(rest), 10_000):
                time.sleep(self.told.pause)
                self.wfile.write(rest[at : at + 10_000])
        except (BrokenPipeError, ConnectionResetError):
            pass  # the other side was killed


def tar(*members, mode="w:gz"):
    """A tar of (name, bytes), or (name, type, link's target)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content, *target in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.size, content = len(content), content.encode()
            if target:
                info.type, info.linkname = content, target[0]
            else:
                info.size = len(content)
            archive.addfile(info, None if target else io.BytesIO(content))
    return file.getvalue()


def zipped(*members):
    """A zip of (name, bytes) or (ZipInfo, bytes)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()
