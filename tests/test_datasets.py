"""Data sets, downloaded from a server on this machine that behaves well or badly as a test wants it."""

import hashlib
import io
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from repro import datasets, downloads
from repro.atomic_files import sha256
from repro.downloads import cache_dir
from repro.errors import AssetError
from repro.training import data

HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
FRAGMENT = b"<p>Please log in</p>"


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.files``; ``server.faults`` holds, by path, what goes wrong at the next requests."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        self.server.encodings.add(self.headers.get("Accept-Encoding"))
        faults = self.server.faults.get(self.path, [])
        fault = faults.pop(0) if faults else None
        body = self.server.files.get(self.path)
        if isinstance(fault, int):
            return self.answer(fault, b"no")
        if fault == "html":
            return self.answer(200, FRAGMENT, {"Content-Type": "text/html; charset=utf-8"})
        if fault == "html, called a picture":
            return self.answer(200, HTML, {"Content-Type": "image/png"})
        if body is None:
            return self.answer(404, b"no such file")
        start, status, headers = 0, 200, {}
        if wanted and self.server.ranges and fault != "no range":
            start, status = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]), 206
            if start >= len(body):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            shown = start + 7 if fault == "wrong range" else start
            headers = {"Content-Range": f"bytes {shown}-{len(body) - 1}/{len(body)}"}
        return self.answer(status, body[start:], headers, fault)

    def answer(self, status, body, headers=None, fault=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if fault in ("truncated", "truncated early", "reset"):
            self.wfile.write(body[: len(body) // (4 if fault == "truncated early" else 2)])
            self.wfile.flush()
            self.close_connection = True
            if fault == "reset":  # closed with time 0 to linger, a connection ends in RST
                time.sleep(0.1)  # what has been sent is read before
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def shutdown_request(self, request):
        self.close_request(request)  # without the FIN that the base class sends first


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "PAUSES", (0, 0, 0))
    monkeypatch.setattr(downloads, "CHUNK", 4096)
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.faults, server.requests, server.ranges = {}, {}, [], True
    server.encodings = set()
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def picture(seed):
    """A PNG of noise, some 75 kB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def archive(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def publish(server, monkeypatch):
    """A function that puts files on the server and an entry for them into the registry."""

    def publish(name="tiny", **files):
        files = {key.replace("__", "/").replace("_", "."): value for key, value in files.items()}
        server.files |= {f"/{file}": content for file, content in files.items()}
        entry = datasets.DataSet(
            "Tiny",
            server.url,
            {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
            sum(map(len, files.values())),
            len(files),
            "CC0",
            "Nobody",
            "tests",
        )
        monkeypatch.setitem(datasets.DATASETS, name, entry)
        return cache_dir() / "datasets" / name

    return publish


def ranges(server):
    return [wanted for _, wanted in server.requests]


def test_files_come_into_the_cache_and_stay_there(server, publish):
    folder = publish(a_png=picture(1), sub__b_png=picture(2))
    assert datasets.get("tiny") == folder
    assert (folder / "a.png").read_bytes() == picture(1)
    assert data.list_photos(datasets.path("tiny")) == [folder / "a.png", folder / "sub" / "b.png"]
    assert not list(folder.rglob("*.part"))
    asked = len(server.requests)
    assert datasets.get("tiny") == folder
    assert len(server.requests) == asked == 2
    assert server.encodings == {"identity"}  # ranges of a compressed body would be others


def test_a_data_set_that_is_not_here_says_how_to_get_it(publish):
    folder = publish(a_png=picture(1))
    with pytest.raises(AssetError, match="repro data get tiny"):
        datasets.path("tiny")
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(picture(1))  # there, but nothing says that it is all
    with pytest.raises(AssetError, match="repro data get tiny"):
        datasets.path("tiny")


def test_two_at_once_do_not_spoil_the_download(server, publish):
    folder = publish(a_png=picture(1))
    folder.mkdir(parents=True)
    with FileLock(folder.with_name(".tiny.lock")):
        with pytest.raises(AssetError, match=r"^tiny: another process is downloading it to .*; wait for it$"):
            datasets.get("tiny")
        assert server.requests == []
    assert datasets.get("tiny") == folder
    assert sorted(path.name for path in folder.iterdir()) == ["SOURCE.json", "a.png"]


@pytest.mark.parametrize("call", [datasets.get, datasets.path, datasets.lookup])
def test_unknown_names(call):
    with pytest.raises(ValueError, match=r"'imagenet'; known: coco2014, .*bsd100"):
        call("imagenet")


@pytest.mark.parametrize("fault", ["truncated", "reset"])
def test_a_dropped_connection_goes_on_where_it_stopped(server, publish, fault):
    folder = publish(a_png=picture(1))
    server.faults["/a.png"] = [fault, fault]
    datasets.get("tiny")
    assert (folder / "a.png").read_bytes() == picture(1)
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for wanted in ranges(server)[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] < len(picture(1))


def test_a_later_run_goes_on_with_what_is_there(server, publish):
    folder = publish(a_png=picture(1), b_png=picture(2))
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(picture(1))
    (folder / "b.png.part").write_bytes(picture(2)[:1000])
    datasets.get("tiny")
    assert server.requests == [("/b.png", "bytes=1000-")]
    assert (folder / "b.png").read_bytes() == picture(2)


def test_a_damaged_file_of_an_incomplete_data_set_is_downloaded_again(server, publish):
    folder = publish(a_png=picture(1), b_png=picture(2))
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(picture(1))
    (folder / "b.png").write_bytes(picture(2)[:-1])
    datasets.get("tiny")
    assert (folder / "b.png").read_bytes() == picture(2)
    assert [path for path, _ in server.requests] == ["/b.png"]


def test_a_part_that_is_already_whole_is_only_checked(server, publish):
    folder = publish(a_png=picture(1))
    folder.mkdir(parents=True)
    (folder / "a.png.part").write_bytes(picture(1))
    datasets.get("tiny")
    assert ranges(server) == [f"bytes={len(picture(1))}-"]
    assert (folder / "a.png").read_bytes() == picture(1)


def test_a_part_longer_than_the_file_is_given_up(server, publish):
    folder = publish(a_png=picture(1))
    folder.mkdir(parents=True)
    (folder / "a.png.part").write_bytes(picture(1) + b"more")
    datasets.get("tiny")
    assert (folder / "a.png").read_bytes() == picture(1)


def test_a_range_that_was_not_asked_for_is_not_appended(server, publish):
    folder = publish(a_png=picture(1))
    server.faults["/a.png"] = ["truncated", "wrong range"]
    datasets.get("tiny")
    assert (folder / "a.png").read_bytes() == picture(1)
    assert ranges(server)[-1] is None


def test_a_server_without_ranges_starts_again(server, publish):
    folder = publish(a_png=picture(1))
    server.ranges = False
    server.faults["/a.png"] = ["truncated"]
    datasets.get("tiny")
    assert (folder / "a.png").read_bytes() == picture(1)
    assert len(server.requests) == 2 and ranges(server)[1]


def test_busy_servers_are_asked_again(server, publish):
    folder = publish(a_png=picture(1))
    server.faults["/a.png"] = [503, 429, 500]
    datasets.get("tiny")
    assert (folder / "a.png").read_bytes() == picture(1)


def test_attempts_end_where_nothing_more_comes_and_the_part_stays(server, publish):
    folder = publish(a_png=picture(1))
    server.ranges = False  # so that each attempt begins again
    server.faults["/a.png"] = ["truncated", "truncated early"] * 25
    with pytest.raises(AssetError, match=r"a\.png \(the connection was dropped\); what has come is kept"):
        datasets.get("tiny")
    # The first attempt brings something; then come as many in vain as there are pauses, and one more.
    assert len(server.requests) == 1 + len(downloads.PAUSES) + 1
    kept = (folder / "a.png.part").read_bytes()
    assert len(kept) > len(picture(1)) // 4 and picture(1).startswith(kept)


def test_another_file_than_expected_is_deleted(server, publish):
    folder = publish(a_png=picture(1))
    server.files["/a.png"] = picture(2)
    with pytest.raises(AssetError, match=r"a\.png: not the expected file"):
        datasets.get("tiny")
    assert list(folder.iterdir()) == []
    server.files["/a.png"] = picture(1)
    datasets.get("tiny")
    assert datasets.path("tiny") == folder


@pytest.mark.parametrize("fault", ["html", "html, called a picture"])
def test_a_page_in_place_of_the_file(server, publish, fault):
    folder = publish(a_png=picture(1))
    folder.mkdir(parents=True)
    (folder / "a.png.part").write_bytes(picture(1)[:1000])
    server.faults["/a.png"] = [fault]
    with pytest.raises(AssetError, match="HTML page"):
        datasets.get("tiny")
    assert (folder / "a.png.part").read_bytes() == picture(1)[:1000]
    assert len(server.requests) == 1


def test_a_missing_file_is_asked_for_once(server, publish):
    publish(a_png=picture(1))
    del server.files["/a.png"]
    with pytest.raises(AssetError, match=r"a\.png \(HTTP status 404\)"):
        datasets.get("tiny")
    assert len(server.requests) == 1


def test_no_network(server, publish, monkeypatch):
    publish(a_png=picture(1))
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        entry = datasets.DATASETS["tiny"]
        monkeypatch.setitem(datasets.DATASETS, "tiny", datasets.DataSet(**{**vars(entry), "url": url}))
        with pytest.raises(AssetError, match="no connection"):
            datasets.get("tiny")


def test_no_space(server, publish, monkeypatch):
    folder = publish(a_zip=archive({"a.png": picture(1)}))
    size = datasets.DATASETS["tiny"].size
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(datasets.shutil, "disk_usage", lambda _: usage(2 * size - 1))
    with pytest.raises(AssetError, match=r"GB are needed .* GB are free"):
        datasets.get("tiny")
    assert server.requests == []
    (folder / "a.zip.part").write_bytes(server.files["/a.zip"][:1])
    datasets.get("tiny")


def test_a_cache_that_cannot_be_written_to(publish, monkeypatch, tmp_path):
    publish(a_png=picture(1))
    (tmp_path / "file").touch()
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match=r"tiny: cannot write to .*REPRO_CACHE"):
        datasets.get("tiny")


def test_archives_are_unpacked_and_deleted(server, publish):
    members = {"train/a.png": picture(1), "train/b.PNG": picture(2), "readme.txt": b"no picture"}
    folder = publish(train_zip=archive(members))
    datasets.get("tiny")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "SOURCE.json",
        "train/a.png",
        "train/b.PNG",
    ]
    assert (folder / "train" / "b.PNG").read_bytes() == picture(2)
    datasets.get("tiny")
    assert len(server.requests) == 1  # it is here, though the archive is not


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize(
    "member", ["../out.png", "a/../../out.png", "/out.png", "..\\out.png", "C:out.png", link("out.png")]
)
def test_an_archive_that_leads_out_of_the_folder_is_refused(publish, member):
    folder = publish(train_zip=archive({"good.png": picture(1), member: b"../../elsewhere"}))
    with pytest.raises(AssetError, match="refused"):
        datasets.get("tiny")
    assert not list(cache_dir().rglob("*.png"))
    assert not (folder.parent / "out.png").exists()


def test_an_archive_that_is_none(publish):
    publish(train_zip=b"PK but no more than that")
    with pytest.raises(AssetError, match=r"train\.zip: damaged"):
        datasets.get("tiny")


def test_an_unpacking_that_was_broken_off_is_done_again_without_download(server, publish, monkeypatch):
    folder = publish(train_zip=archive({"a.png": picture(1), "b.png": picture(2)}))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(downloads.zipfile.ZipFile, "extract", killed)
        datasets.get("tiny")
    with pytest.raises(AssetError):
        datasets.path("tiny")
    datasets.get("tiny")
    assert len(server.requests) == 1
    assert len(data.list_photos(folder)) == 2


def test_the_bar_counts_every_byte_once(server, publish, monkeypatch):
    bars = []

    class Bar(datasets.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False, "mininterval": 0})
            self.seen = []
            bars.append(self)

        def set_description(self, text):
            self.seen.append(text)
            super().set_description(text)

    monkeypatch.setattr(datasets, "tqdm", Bar)
    folder = publish(**{f"{name}_png": picture(seed) for seed, name in enumerate("abcde", start=1)})
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(picture(1))
    (folder / "b.png.part").write_bytes(picture(2)[:1000])
    (folder / "d.png.part").write_bytes(picture(4) + b"more")
    server.faults["/c.png"] = ["truncated", "wrong range"]
    server.faults["/e.png"] = ["truncated", "no range"]
    datasets.get("tiny", progress=True)
    (bar,) = bars
    assert bar.n == bar.total == datasets.DATASETS["tiny"].size
    assert bar.seen == [f"tiny {i}/5" for i in range(1, 6)]


def test_the_registry_is_complete():
    assert list(datasets.DATASETS) == ["coco2014", "coco2017", "bsds500", "set5", "set14", "bsd100"]
    for name, entry in datasets.DATASETS.items():
        assert entry.url.endswith("/"), name
        assert entry.files and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in entry.files.values())
        if not name.startswith("coco"):
            assert len(entry.files) == entry.pictures, name
    assert set(datasets.DATASETS["bsd100"].files.values()) < set(datasets.DATASETS["bsds500"].files.values())
    assert list(datasets.DATASETS["coco2014"].files) == ["train2014.zip"]


@pytest.mark.parametrize("name", ["set5", "set14"])
def test_the_hashes_are_those_of_the_pictures(test_data, name):
    found = {path.name: sha256(path) for path in (test_data / name).iterdir()}
    assert found == datasets.DATASETS[name].files


def run(*arguments, entry=None):
    """The command in a process of its own, with an entry more in its registry."""
    code = "import sys; from repro import cli, datasets, downloads\n"
    if entry:
        code += f"datasets.DATASETS['tiny'] = datasets.DataSet(**{vars(entry)!r})\n"
    code += "downloads.PAUSES = (0.01,)\nsys.argv[0] = 'repro'; cli.main()"
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800)


def test_the_command_line(server, publish):
    folder = publish(a_png=picture(1), b_png=picture(2))
    entry = datasets.DATASETS["tiny"]
    listed = run("data", "list", entry=entry)
    assert listed.returncode == 0, listed.stderr
    assert "coco2014" in listed.stdout and "13,511 MB" in listed.stdout
    assert "tiny: Tiny; 2 pictures" in listed.stdout
    result = run("data", "get", "tiny", entry=entry)
    assert result.returncode == 0, result.stderr
    assert result.stderr == f"tiny: {folder}. License: CC0. Cite: Nobody.\n"
    assert str(folder) in run("data", "list", entry=entry).stdout


def test_errors_of_the_command_line_are_one_line(server, publish):
    publish(a_png=picture(1))
    server.faults["/a.png"] = [503, "html"]
    result = run("data", "get", "tiny", entry=datasets.DATASETS["tiny"])
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("repro: ")
    assert "HTML page" in result.stderr


def test_nothing_is_downloaded_if_one_name_is_unknown(server, publish):
    publish(a_png=picture(1))
    result = run("data", "get", "tiny", "imagenet", entry=datasets.DATASETS["tiny"])
    assert result.returncode == 2
    assert result.stderr.startswith("repro: unknown data set 'imagenet'; known: coco2014")
    assert server.requests == []


def test_cache_dir_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.setenv("REPRO_CACHE", "~/there")
    assert "~" not in str(cache_dir())
    monkeypatch.delenv("REPRO_CACHE")
    assert cache_dir().name == "repro"
