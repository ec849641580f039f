"""Files of real datasets: from PETLBENCH_MIRROR, from an earlier download, or from the network. The sha256 decides, not the place."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from suite.errors import UserError

FOLDER = Path(".cache/data")
"""Where downloads are kept."""

BLOCK = 1 << 20
PATIENCE = 30
"""Seconds to wait for a server."""


@dataclass(frozen=True)
class Source:
    """A file. path: below FOLDER, and below PETLBENCH_MIRROR. url: None where it is not to be had from the network.
    sha256, size (bytes): None where they are not known; then whoever reads the file has to judge what is in it."""

    path: str
    url: str | None = None
    sha256: str | None = None
    size: int | None = None

    def told(self) -> str:
        """What the user has to look for."""
        facts = ([] if self.size is None else [f"{self.size:,} bytes"]) + ([] if self.sha256 is None else [f"sha256 {self.sha256}"])
        return f"{self.path} ({', '.join(facts)})" if facts else self.path


def fetch(source: Source) -> Path:
    """The verified file: of the mirror if it has one, else of FOLDER, after a download that goes on where an earlier one stopped.

    Raises UserError, in one line, where it cannot be had or is not the one that is asked for.
    """
    mirror = os.environ.get("PETLBENCH_MIRROR")
    if mirror and Path(mirror, source.path).is_file():
        return _verified(Path(mirror, source.path), source)
    kept = FOLDER / source.path
    if kept.is_file():
        return _verified(kept, source)
    if source.url is None:
        raise UserError(f"{source.told()} is not to be had from the network: put it below the folder that PETLBENCH_MIRROR names")
    part = kept.with_name(kept.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _download(source, part)
    except (OSError, http.client.HTTPException) as error:
        way_out = f"go online, or put {source.told()} below PETLBENCH_MIRROR"
        raise UserError(f"cannot download {source.url} ({_reason(error)}): {way_out}") from None
    _verified(part, source)
    os.replace(part, kept)
    return kept


def _download(source: Source, part: Path) -> None:
    """Append what `part` lacks; start anew where the server cannot go on from there."""
    have = part.stat().st_size if part.is_file() else 0
    if source.size is not None and have >= source.size:
        return
    request = urllib.request.Request(source.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code == 416 and source.size is None:  # there is no more
            return
        raise
    with answer, open(part, "ab" if answer.status == 206 else "wb") as file:
        shutil.copyfileobj(answer, file, BLOCK)
        if answer.length:
            raise OSError(f"the connection broke {answer.length:,} bytes before the end; what came is kept")


def _verified(path: Path, source: Source) -> Path:
    found = path.stat().st_size
    if source.size is not None and found != source.size:
        raise UserError(f"{path} has {found:,} bytes, expected {source.size:,}: remove it, or put the right one in its place")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if source.sha256 not in (None, digest):
        raise UserError(f"{path} has sha256 {digest}, expected {source.sha256}: remove it, or put the right one in its place")
    return path


def _reason(error: Exception) -> str:
    told = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
    return " ".join(str(told).split()) or type(error).__name__
