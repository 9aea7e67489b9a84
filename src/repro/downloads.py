"""Downloads: the folder they go to, and getting them.

A download that breaks off goes on where it stopped, is checked against a hash, and unpacked safely.
"""

from __future__ import annotations

import os
import stat
import time
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import pooch
import requests
import torch
from tqdm import tqdm

from .atomic_files import sha256
from .errors import AssetError

# Seconds between attempts. The count starts again whenever more of the file has come than ever before.
PAUSES = (1, 2, 4, 8, 15)
TIMEOUT = (10, 60)  # seconds: to connect, and between two pieces of the body
CHUNK = 1 << 16  # bytes; what has come of a chunk is lost when the connection drops


def cache_dir() -> Path:
    """Return the cache folder: ``$REPRO_CACHE`` if set, else the system's. It may not exist yet."""
    return Path(os.environ.get("REPRO_CACHE") or pooch.os_cache("repro")).expanduser()


def torch_downloads() -> Path:
    """Return the folder where torch keeps its downloads: ``$TORCH_HOME/hub/checkpoints`` if that is set."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def reason_of(error: Exception) -> str:
    """Return in a few words why a download failed."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate cannot be verified"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was dropped"
    if isinstance(error, requests.Timeout):
        return "no answer"
    if isinstance(error, requests.ConnectionError):
        return "no connection; is there a network?"
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(reason).split("\n")[0] or type(error).__name__


def download(session: requests.Session, url: str, target: Path, digest: str, bar: tqdm) -> None:
    """Download into ``target.part``, going on with what is there, check it, and move it to ``target``.

    Args:
        session: asks for bodies as they are (``Accept-Encoding: identity``), since a compressed one would
            have other byte positions than the file.
        digest: the SHA-256 that the file must have.
        bar: is moved on by the bytes that come, and by those that were there.

    Raises:
        AssetError: no network, and what has come is kept; or no such file; or not the expected one.
        OSError: it cannot be written.
    """
    part = target.with_name(target.name + ".part")
    reached = _size(part)
    bar.update(reached)
    failures = 0
    while True:
        try:
            _append(session, url, part, bar)
            break
        except requests.RequestException as error:
            failures = 0 if _size(part) > reached else failures + 1
            reached = max(reached, _size(part))
            if failures > len(PAUSES):
                raise AssetError(
                    f"could not download {url} ({reason_of(error)}); what has come is kept, try again later"
                ) from None
            bar.set_postfix_str(f"{reason_of(error)}; trying again")
            time.sleep(PAUSES[max(failures - 1, 0)])
            bar.set_postfix_str("")
    if sha256(part) != digest:
        part.unlink()
        raise AssetError(f"{url}: not the expected file (its SHA-256 is another); it was deleted, try again")
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)


def _append(session: requests.Session, url: str, part: Path, bar: tqdm) -> None:
    """Ask for the bytes after those in ``part`` and add them, or for all where the server cannot do that.

    Raises:
        requests.RequestException: it may go better another time.
        AssetError: it will not.
    """
    start = _size(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status, content_range = response.status_code, response.headers.get("Content-Range", "")
        if status == 416 and content_range == f"bytes */{start}":
            return  # nothing comes after those bytes: it broke off just before the check
        if status == 416 or (status == 206 and not content_range.startswith(f"bytes {start}-")):
            part.unlink(missing_ok=True)
            bar.update(-start)
            raise requests.ConnectionError("the server's file does not go on from these bytes")
        if status in (408, 429) or status >= 500:
            response.raise_for_status()
        if status not in (200, 206):
            raise AssetError(f"could not download {url} (HTTP status {status})")
        chunks = response.iter_content(CHUNK)
        chunk = next(chunks, b"")
        # Logins, proxies and captive portals answer with a page of their own and status 200.
        page = chunk[:512].lstrip().lower().startswith((b"<!doctype html", b"<html"))
        if page or response.headers.get("Content-Type", "").startswith("text/html"):
            raise AssetError(
                f"{url}: an HTML page came in place of the file; does a login or proxy intervene?"
            )
        if status == 200:
            bar.update(-start)
        with open(part, "ab" if status == 206 else "wb") as file:
            while chunk:
                file.write(chunk)
                bar.update(len(chunk))
                chunk = next(chunks, b"")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def unpack(archive: Path, folder: Path, suffixes: Collection[str], progress: bool) -> None:
    """Unpack the files of a zip archive with some suffixes, in lower case.

    An archive that would write outside the folder is refused whole.

    Raises:
        AssetError: it is damaged, or refused.
        OSError: it cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [info for info in file.infolist() if not info.is_dir()]
            for info in members:
                if not _is_safe(info):
                    raise AssetError(
                        f"{archive}: refused, its member {info.filename!r} leads out of the folder"
                    )
            wanted = [info for info in members if PurePosixPath(info.filename).suffix.lower() in suffixes]
            for info in tqdm(wanted, "unpack", unit="files", disable=None if progress else True):
                file.extract(info, folder)
    except zipfile.BadZipFile as error:
        raise AssetError(f"{archive}: damaged ({error}); delete it and try again") from None


def _is_safe(info: zipfile.ZipInfo) -> bool:
    name = info.filename.replace("\\", "/")
    inside = not name.startswith("/") and ":" not in name and ".." not in name.split("/")
    return inside and not stat.S_ISLNK(info.external_attr >> 16)
