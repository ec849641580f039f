"""Files of real datasets: the sha256 decides, a broken download goes on, what cannot be had is said in one line."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from suite.data.fetch import FOLDER, Source, fetch
from suite.errors import UserError

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Serves CONTENT. breaks: at which byte the connection is cut, request by request. ranges: does it go on where it is asked to?"""

    url: str = ""
    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PETLBENCH_MIRROR", raising=False)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and state.ranges else 0
            if self.path != "/file" or start >= len(CONTENT):
                self.send_error(404 if self.path != "/file" else 416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : state.breaks.pop(0) if state.breaks else None])

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/file"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def source(server: Server, **changed: object) -> Source:
    return Source(**{"path": "set/file.bin", "url": server.url, "sha256": SHA256, "size": len(CONTENT)} | changed)


def test_a_file_is_downloaded_once(server: Server) -> None:
    path = fetch(source(server))
    assert path == FOLDER / "set/file.bin" and path.read_bytes() == CONTENT
    assert fetch(source(server)) == path and server.asked == [None]
    assert [file.name for file in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("known", [True, False])
def test_a_broken_download_goes_on(server: Server, known: bool) -> None:
    wanted = source(server) if known else source(server, sha256=None, size=None)
    server.breaks = [1000, 5000]
    for _ in range(2):
        with pytest.raises(UserError, match="before the end; what came is kept") as error:
            fetch(wanted)
        assert "\n" not in str(error.value)
    assert fetch(wanted).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-", "bytes=5000-"]


def test_a_server_that_cannot_go_on_starts_anew(server: Server) -> None:
    server.breaks, server.ranges = [1000], False
    with pytest.raises(UserError):
        fetch(source(server))
    assert fetch(source(server)).read_bytes() == CONTENT


@pytest.mark.parametrize("known", [True, False])
def test_a_download_that_was_complete_is_taken(server: Server, known: bool) -> None:
    part = FOLDER / "set/file.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert fetch(source(server) if known else source(server, sha256=None, size=None)).read_bytes() == CONTENT
    assert server.asked == ([] if known else [f"bytes={len(CONTENT)}-"])


def test_a_wrong_file_of_the_server_is_named_and_not_kept_as_the_right_one(server: Server) -> None:
    with pytest.raises(UserError, match=f"has sha256 {SHA256}, expected abc: remove it"):
        fetch(source(server, sha256="abc"))
    assert not (FOLDER / "set/file.bin").exists()


@pytest.mark.parametrize(("content", "message"), [
    (CONTENT[:-1], "has 10,239 bytes, expected 10,240"), (CONTENT[::-1], f"expected {SHA256}"),
])  # fmt: skip
def test_a_damaged_file_of_the_mirror_is_named(content: bytes, message: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mirror/set").mkdir(parents=True)
    Path("mirror/set/file.bin").write_bytes(content)
    monkeypatch.setenv("PETLBENCH_MIRROR", "mirror")
    with pytest.raises(UserError, match=message):
        fetch(source(server))
    assert not server.asked


def test_the_mirror_comes_before_the_network_and_may_lack_files(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETLBENCH_MIRROR", "mirror")
    assert fetch(source(server)) == FOLDER / "set/file.bin"
    Path("mirror/set").mkdir(parents=True)
    Path("mirror/set/file.bin").write_bytes(CONTENT)
    assert fetch(source(server)) == Path("mirror/set/file.bin") and len(server.asked) == 1


@pytest.mark.parametrize(("url", "message"), [
    ("http://127.0.0.1:9/file", "cannot download http://127.0.0.1:9/file ("), ("{other}", "(HTTP Error 404"),
    (None, f"set/file.bin (10,240 bytes, sha256 {SHA256}) is not to be had from the network: put it below the folder"),
])  # fmt: skip
def test_what_cannot_be_had_is_one_line(url: str | None, message: str, server: Server) -> None:
    url = url and url.replace("{other}", server.url.replace("file", "other"))
    with pytest.raises(UserError) as error:
        fetch(source(server, url=url))
    line = str(error.value)
    assert message in line and "PETLBENCH_MIRROR" in line and "\n" not in line
