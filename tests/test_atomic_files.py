"""Files are written whole or not at all."""

import errno
import hashlib
import os
import stat

import pytest

from repro.atomic_files import atomic_path, sha256


def test_a_file_is_written_and_nothing_else_is_left(tmp_path):
    target = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".txt"
        assert temporary.parent == target.parent  # a move within one file system is one step
        temporary.write_text("hello")
        assert not target.exists()
    assert target.read_text() == "hello"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyError("failed")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_files_have_the_permissions_that_open_gives(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes(b"")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_the_longest_name_that_a_folder_takes(tmp_path):
    for name in ("w" * 251 + ".jpg", "日" * 83 + ".jpg"):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_bytes(b"a")
        assert (tmp_path / name).read_bytes() == b"a"


def test_an_error_names_the_file_that_was_to_be(tmp_path):
    target = tmp_path / "a.png"
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as Pillow's, without a name
    assert caught.value.filename == str(target)
    with pytest.raises(OSError, match="other") as caught, atomic_path(target):
        raise FileNotFoundError(errno.ENOENT, "no such file", "other")
    assert caught.value.filename == "other"
    with (
        pytest.raises(OSError, match="File name too long") as caught,
        atomic_path(tmp_path / ("a." + 300 * "b")),
    ):
        pass
    assert caught.value.filename == str(tmp_path / ("a." + 300 * "b"))


def test_sha256_of_known_bytes(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"x" * 3_000_000)
    assert sha256(str(path)) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
