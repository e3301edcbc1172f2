"""A registry of one image, on this machine: enough of the distribution API for an engine to pull from it."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_LOAD_ADDRESS: Final = 0x400000
_HEADERS_BYTES: Final = 64 + 56
#: mov eax, 60 (exit); mov edi, 7; syscall
_EXIT_SEVEN: Final = b"\xb8\x3c\x00\x00\x00\xbf\x07\x00\x00\x00\x0f\x05"


def program() -> bytes:
    """The smallest Linux program for x86-64: it exits with 7. An image of it is a few hundred bytes."""
    size = _HEADERS_BYTES + len(_EXIT_SEVEN)
    entry = _LOAD_ADDRESS + _HEADERS_BYTES
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x1000)
    return header + segment + _EXIT_SEVEN


class Registry:
    """Serves one image, under any name and tag, and counts how often its manifest was asked for."""

    def __init__(self) -> None:
        layer = _layer()
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            }
        ).encode()
        packed = gzip.compress(layer, mtime=0)
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "size": len(config), "digest": _digest(config)},
            "layers": [{"mediaType": _LAYER, "size": len(packed), "digest": _digest(packed)}],
        }
        self.manifest = json.dumps(manifest).encode()
        self.blobs = {_digest(content): content for content in (config, packed, self.manifest)}
        self.questions = 0
        registry = self

        class Handler(BaseHTTPRequestHandler):
            """Answers by path."""

            def do_GET(self) -> None:
                """Send a manifest or a blob."""
                registry.answer(self)

            def do_HEAD(self) -> None:
                """The same without its body: what an engine asks that has the blobs already."""
                registry.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing on the test's stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def image(self, name: str) -> str:
        """How an engine is told to pull from here: it takes plain HTTP for an address of the loopback."""
        return f"127.0.0.1:{self._server.server_address[1]}/{name}:1"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path = request.path
        if "/manifests/" in path:
            self.questions += 1
            self._send(request, self.manifest, _MANIFEST)
        elif "/blobs/" in path:
            self._send(request, self.blobs[path.rpartition("/")[2]], "application/octet-stream")
        else:
            self._send(request, b"{}", "application/json")

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Docker-Content-Digest", _digest(body))
        request.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)


def _layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("seven")
        content = program()
        info.size, info.mode = len(content), 0o755
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
