"""The servers that the tests read models from: a real S3 server (moto) and a web server with Range."""

import hashlib
import http.client
import http.server
import os
import pathlib
import re
import socket
import subprocess
import threading
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class WebServer:
    """Files of a folder with ETag and Range; no listing."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder.resolve()
        self.etags: dict[pathlib.Path, str] = {}  # the files do not change
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # noqa: N802
                web.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        path = self.folder / handler.path.lstrip("/").split("?")[0]
        if not path.is_file():
            handler.send_response(404)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        content = path.read_bytes()
        if path not in self.etags:
            self.etags[path] = f'"{hashlib.md5(content).hexdigest()}"'
        etag = self.etags[path]
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range") or "")
        if handler.headers.get("If-Range", etag) != etag:
            found = None
        handler.send_response(206 if found else 200)
        if found:
            first, last = int(found.group(1)), min(int(found.group(2)), len(content) - 1)
            handler.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            content = content[first : last + 1]
        handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)


def find_moto() -> pathlib.Path | None:
    program = REPOSITORY / ".deps-test/bin/moto_server"
    return program if program.exists() else None


class S3Server:
    """moto in a process of its own, with one bucket: "models"."""

    def __init__(self, program: pathlib.Path):
        self.port = free_port()
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [str(program), "-H", "127.0.0.1", "-p", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        end = time.monotonic() + 60
        while True:
            try:
                self.put("/models", b"")
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def put(self, path: str, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("PUT", path, body=body, headers={"Authorization": AUTHORIZATION})
        response = connection.getresponse()
        response.read()
        connection.close()
        if response.status != 200:
            raise OSError(f"PUT {path}: {response.status}")

    def upload(self, folder: pathlib.Path, prefix: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"/models/{prefix}/{path.relative_to(folder)}", path.read_bytes())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
