"""An HTTP proxy in front of one server that breaks answers as it is told. Standard library only."""

import dataclasses
import http.client
import http.server
import random
import re
import socket
import struct
import threading
import time

STALL_SECONDS = 20  # longer than any deadline in the tests


@dataclasses.dataclass
class Fault:
    """The answers to matching requests, from number `skip` on, `times` of them, are broken."""

    kind: str  # a key of FaultProxy.faults, or "any" for a random one
    method: str = "GET"
    path: str = r"\.(safetensors|bin)"  # searched for in the request's path
    skip: int = 0
    times: int = 1 << 30
    chance: float = 1.0


class Answer:
    """What the server said."""

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes):
        self.status = status
        self.headers = headers
        self.body = body

    def set(self, name: str, value: str) -> None:
        self.headers = [(n, v) for n, v in self.headers if n.lower() != name.lower()] + [(name, value)]


class FaultProxy:
    # Kinds that a later attempt mends, and that no retry can.
    TRANSIENT = ("status_503", "reset", "cut", "short", "stall", "whole", "shifted", "garbage")
    FINAL = ("denied", "etag")

    def __init__(self, upstream_port: int, seed: int = 1):
        self.upstream_port = upstream_port
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.fault: Fault | None = None
        self.seen = self.injected = self.requests = 0
        self.random_kinds = [kind for kind in self.TRANSIENT if kind != "stall"]  # of "any"
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # noqa: N802
                proxy.handle(self)

            do_HEAD = do_PUT = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass  # clients that hang up

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def arm(self, fault: Fault | None) -> None:
        with self.lock:
            self.fault = fault
            self.seen = self.injected = self.requests = 0

    def chosen(self, handler: http.server.BaseHTTPRequestHandler) -> str:
        """The kind of fault for this request; "" for none."""
        with self.lock:
            self.requests += 1
            fault = self.fault
            if fault is None or handler.command not in fault.method.split("|"):
                return ""
            if not re.search(fault.path, handler.path):
                return ""
            self.seen += 1
            if self.seen <= fault.skip or self.injected >= fault.times:
                return ""
            if self.random.random() >= fault.chance:
                return ""
            self.injected += 1
            if fault.kind != "any":
                return fault.kind
            kinds = self.random_kinds
            if handler.command == "HEAD":  # no body that could be cut or another
                kinds = ["status_503", "reset", "garbage"]
            return self.random.choice(kinds)

    def ask(self, handler: http.server.BaseHTTPRequestHandler, drop_range: bool = False, shift: int = 0) -> Answer:
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length) if length else None
        headers = {name: value for name, value in handler.headers.items() if name.lower() != "connection"}
        if drop_range:
            headers = {name: value for name, value in headers.items() if name.lower() not in ("range", "if-range")}
        for name in list(headers):
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", headers[name]) if name.lower() == "range" else None
            if found and shift:
                first, last = (max(int(number) - shift, 0) for number in found.groups())
                headers[name] = f"bytes={first}-{last}"
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=60)
        connection.request(handler.command, handler.path, body=body, headers=headers)
        response = connection.getresponse()
        answer = Answer(response.status, response.getheaders(), response.read())
        connection.close()
        return answer

    def handle(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        kind = self.chosen(handler)
        if not kind:
            return self.send(handler, self.ask(handler))
        return getattr(self, "fault_" + kind)(handler)

    def send(self, handler: http.server.BaseHTTPRequestHandler, answer: Answer, body_bytes: int | None = None) -> None:
        """All of the answer, or with its headers only so much of its body."""
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'x')}"]
        skipped = ("connection", "transfer-encoding")
        if not any(name.lower() == "content-length" for name, _ in answer.headers):
            answer.set("Content-Length", str(len(answer.body)))
        lines += [f"{name}: {value}" for name, value in answer.headers if name.lower() not in skipped]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        body = b"" if handler.command == "HEAD" else answer.body[:body_bytes]
        handler.wfile.write(head + body)
        handler.wfile.flush()

    def fault_slow(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """A right answer, after a moment."""
        time.sleep(0.02)
        self.send(handler, self.ask(handler))

    def fault_status_503(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.send(handler, Answer(503, [("Content-Length", "4")], b"busy"))

    def fault_denied(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.send(handler, Answer(403, [("Content-Length", "2")], b"no"))

    def fault_garbage(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x00\xffnot http at all\r\n\r\n")
        handler.close_connection = True

    def fault_reset(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        answer = self.ask(handler)
        self.send(handler, answer, len(answer.body) // 2)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True

    def fault_cut(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        answer = self.ask(handler)
        self.send(handler, answer, len(answer.body) // 2)
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    def fault_short(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """A whole answer with fewer bytes than were asked for."""
        answer = self.ask(handler)
        answer.body = answer.body[: len(answer.body) // 2]
        answer.set("Content-Length", str(len(answer.body)))
        self.send(handler, answer)

    def fault_stall(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        answer = self.ask(handler)
        self.send(handler, answer, len(answer.body) // 2)
        time.sleep(STALL_SECONDS)
        handler.close_connection = True

    def fault_etag(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """The object was replaced: another ETag, other bytes."""
        answer = self.ask(handler)
        answer.set("ETag", '"00000000000000000000000000000000"')
        answer.body = bytes(len(answer.body))
        self.send(handler, answer)

    def fault_whole(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """200 and the whole object instead of a part."""
        self.send(handler, self.ask(handler, drop_range=True))

    def fault_shifted(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Another part than the one asked for, and it says so."""
        self.send(handler, self.ask(handler, shift=4096))

    def fault_lie(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Another part, under the name of the right one."""
        answer = self.ask(handler, shift=4096)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range") or "")
        total = next((v.split("/")[1] for n, v in answer.headers if n.lower() == "content-range"), "*")
        if found:
            answer.set("Content-Range", f"bytes {found.group(1)}-{found.group(2)}/{total}")
        self.send(handler, answer)
