"""Downloads that go on where they broke off, and are believed by their checksum only."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from . import cache, progress
from .errors import CannotTest

SILENCE_SECONDS = 30
CHUNK = 1 << 18
# Broken off without one more byte, so often in a row: then it is no use.
TRIES = 3
# What a list of checksums may have at most; a proxy's endless error page is none.
TEXT_LIMIT = 4 << 20


def text(url: str) -> str:
    """A small text file."""
    try:
        with _open(url) as answer:
            return answer.read(TEXT_LIMIT).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise CannotTest(f"cannot fetch {url}: {reason(error)}") from None


def fetch(url: str, target: Path, sha256: str) -> None:
    """The file at url, whole and with that checksum, at target.

    What has come of it is kept beside target, so that the next call goes on from there.
    """
    if target.is_file():
        return
    part = target.with_name(target.name + ".part")
    _complete(url, part)
    progress.show(f"  checking {target.name}")
    good = _checksum(part) == sha256
    progress.show("")
    if not good:
        part.unlink()
        raise CannotTest(
            f"{url} was damaged on its way: its SHA-256 is not the published one; "
            "it is thrown away, so run the same command again"
        )
    part.rename(target)


def _complete(url: str, part: Path) -> None:
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _go_on(url, part, before)
            return
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in cache.NO_SPACE:
                raise cache.disk_full() from error
            now = part.stat().st_size if part.exists() else 0
            failures = 0 if now > before else failures + 1
            if failures == TRIES or isinstance(error, urllib.error.HTTPError):
                kept = f"; {progress.megabytes(now)} are here, and the next try goes on from there"
                raise CannotTest(
                    f"cannot fetch {url}: {reason(error)}{kept if now else ''}"
                ) from None
        finally:
            progress.show("")


def _go_on(url: str, part: Path, have: int) -> None:
    """Fetches from the byte `have` on; OSError if it breaks off."""
    try:
        answer = _open(url, {"Range": f"bytes={have}-"} if have else {})
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # Nothing lies behind what we have: it is whole, or of another file.
        return
    with answer:
        if have and answer.status != 206:  # this server starts over
            have = 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        cache.check_space(total - have)
        with part.open("ab" if have else "wb") as out:
            while chunk := answer.read(CHUNK):
                out.write(chunk)
                have += len(chunk)
                progress.show(
                    f"  {progress.megabytes(have)} of {progress.megabytes(total)} ({url})"
                )
    if have < total:
        raise ConnectionError("the connection broke off")


def _open(url: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "kmsgpipe", **(headers or {})})
    return urllib.request.urlopen(request, timeout=SILENCE_SECONDS)


def reason(error: Exception) -> str:
    """Why it failed, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    inner = getattr(error, "reason", error)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return "its certificate cannot be checked (is the package ca-certificates installed?)"
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__


def _checksum(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as data:
        while chunk := data.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()
