"""Downloads, from a server of our own that breaks off, lies, and starts over."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

from judge import cache, download
from judge.errors import CannotTest

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; how badly is up to the test."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = True  # does it know Range: headers?
        self.pieces = 0  # if set: the connection breaks after so many bytes
        self.files = {"/file": CONTENT}
        self.asked: list[str] = []  # the Range: headers, in their order
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        data = self.server.files.get(self.path)
        asked = self.headers.get("Range", "")
        self.server.asked.append(asked)
        if data is None:
            self.send_error(404)
            return
        start = int(asked[6:-1]) if asked and self.server.ranges else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = start + self.server.pieces if self.server.pieces else len(data)
        self.wfile.write(data[start:end])

    def log_message(self, *_: object) -> None:
        pass


class Download(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.target = Path(scratch.name) / "file"
        self.part = Path(scratch.name) / "file.part"
        patch = mock.patch.dict(
            "os.environ", {"KMSGPIPE_CACHE": f"{scratch.name}/cache", "no_proxy": "*"}
        )
        patch.start()
        self.addCleanup(patch.stop)
        self.server = Server()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def fetch(self, sha256: str = SHA256, name: str = "file") -> None:
        download.fetch(f"{self.server.url}/{name}", self.target, sha256)

    def test_whole(self) -> None:
        self.fetch()
        self.assertEqual(self.target.read_bytes(), CONTENT)
        self.assertFalse(self.part.exists())
        self.fetch()
        self.assertEqual(len(self.server.asked), 1)

    def test_goes_on_where_it_broke_off(self) -> None:
        self.server.pieces = 30_000
        self.fetch()
        self.assertEqual(self.target.read_bytes(), CONTENT)
        self.assertEqual(self.server.asked[:3], ["", "bytes=30000-", "bytes=60000-"])

    def test_goes_on_from_an_earlier_call(self) -> None:
        self.part.write_bytes(CONTENT[:50_000])
        self.fetch()
        self.assertEqual(self.target.read_bytes(), CONTENT)
        self.assertEqual(self.server.asked, ["bytes=50000-"])

    def test_server_that_starts_over(self) -> None:
        self.server.ranges = False
        self.part.write_bytes(CONTENT[:50_000])
        self.fetch()
        self.assertEqual(self.target.read_bytes(), CONTENT)

    def test_whole_already(self) -> None:
        self.part.write_bytes(CONTENT)
        self.fetch()
        self.assertEqual(self.target.read_bytes(), CONTENT)

    def test_damaged_is_thrown_away(self) -> None:
        with self.assertRaisesRegex(CannotTest, "not the published one"):
            self.fetch(sha256="0" * 64)
        self.assertFalse(self.part.exists() or self.target.exists())
        self.part.write_bytes(b"x" * len(CONTENT))  # left over from another file
        with self.assertRaises(CannotTest):
            self.fetch()
        self.fetch()

    def test_what_has_come_is_kept(self) -> None:
        self.part.write_bytes(CONTENT[:50_000])
        self.server.shutdown()
        self.server.server_close()
        with self.assertRaisesRegex(
            CannotTest, "refused; 0.1 MB are here, and the next try goes on"
        ):
            self.fetch()
        self.assertEqual(self.part.read_bytes(), CONTENT[:50_000])

    def test_not_there(self) -> None:
        with self.assertRaisesRegex(CannotTest, "the server says 404"):
            self.fetch(name="other")

    def test_no_room(self) -> None:
        with mock.patch.object(cache, "check_space", side_effect=CannotTest("the disk is full")):
            with self.assertRaisesRegex(CannotTest, "the disk is full"):
                self.fetch()

    def test_text(self) -> None:
        self.server.files["/sums"] = b"abc\n"
        self.assertEqual(download.text(f"{self.server.url}/sums"), "abc\n")
        with self.assertRaisesRegex(CannotTest, "the server says 404"):
            download.text(f"{self.server.url}/none")


if __name__ == "__main__":
    unittest.main()
