"""Servers on this machine that answer as no MLflow server does, and one that takes all that it is sent."""

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATUS = {
    "babbles": "200 OK",
    "fails": "500 Internal Server Error",
    "rejects": "401 Unauthorized",
    "forbids": "403 Forbidden",
    "redirects": "302 Found\r\nLocation: /",
}


def _answer(kind: str, connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        request = connection.recv(1 << 16)
        if kind == "hangs":
            time.sleep(60)
        elif kind == "dribbles":
            for _ in range(60):
                connection.sendall(b"H")
                time.sleep(1)
        elif kind == "echoes":
            login = request.decode().partition("Authorization: ")[2].partition("\r\n")[0]
            body = json.dumps({"error_code": "INTERNAL_ERROR", "message": f"\x1b[31mno {login}"}).encode()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + body)
        else:
            connection.sendall(f"HTTP/1.1 {STATUS[kind]}\r\nConnection: close\r\n\r\n<html>?".encode())


@contextmanager
def bad_server(kind: str) -> Iterator[str]:
    """Its address. `kind`: what it does: refuses, hangs, dribbles, echoes the login, or a key of STATUS."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=_answer, args=(kind, connection), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if kind == "refuses":
            server.close()
        else:
            threading.Thread(target=serve, daemon=True).start()
        yield address
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread


RUN_INFO = {"run_id": "1", "experiment_id": "1", "status": "RUNNING", "artifact_uri": "mlflow-artifacts:/1/artifacts"}
EXPERIMENT = {"experiment_id": "1", "name": "depths", "lifecycle_stage": "active"}
ANSWERS = {
    "experiments/get-by-name": {"experiment": EXPERIMENT},
    "runs/create": {"run": {"info": RUN_INFO}},
    "runs/get": {"run": {"info": RUN_INFO}},
    "runs/update": {"run_info": RUN_INFO},
}


@dataclass
class Heard:
    """What a server was sent."""

    address: str
    logins: set[str | None] = field(default_factory=set)
    text: list[str] = field(default_factory=list)
    """Everything but the headers for logging in."""


@contextmanager
def good_server(answers: int = sys.maxsize) -> Iterator[Heard]:
    """Knows one experiment without runs, and takes whatever is logged; after so many answers it gives none."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            heard.logins.add(self.headers["Authorization"])
            del self.headers["Authorization"]
            heard.text.append(f"{self.requestline}\n{self.headers}\n{body!r}")
            if len(heard.text) > answers:
                return
            content = json.dumps(ANSWERS.get(self.path.partition("?")[0].partition("/2.0/mlflow/")[2], {})).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        heard = Heard(f"127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield heard
        server.shutdown()
