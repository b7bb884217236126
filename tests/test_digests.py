"""A file's SHA-256 is of its bytes as they are, though what is known is not read again."""

import hashlib
import os
import time

import pytest

from metaprobe.trainers import files
from metaprobe.trainers.files import sha256_of


@pytest.fixture
def read(monkeypatch):
    """How often files were read."""
    counted, plain = [], files._digest

    def digest(file):
        counted.append(file.name)
        return plain(file)

    monkeypatch.setattr(files, "_digest", digest)
    monkeypatch.setattr(files, "_digests", {})
    return counted


def reference(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def long_ago(path, monkeypatch):
    """Let an hour pass: a change of a file cannot be dated back, as the system dates that, too."""
    now = time.time_ns()
    monkeypatch.setattr(files.time, "time_ns", lambda: now + 3600 * 10**9)


def test_a_file_of_just_now_is_read_each_time(tmp_path, read):
    path = tmp_path / "store"
    for content in (b"one", b"two", b"two"):
        path.write_bytes(content)
        assert sha256_of(path) == reference(path)
    assert len(read) == 3


def test_an_older_file_is_read_once_until_it_changes(tmp_path, read, monkeypatch):
    path = tmp_path / "store"
    path.write_bytes(b"one" * 500_000)
    long_ago(path, monkeypatch)
    assert sha256_of(path) == sha256_of(str(path)) == sha256_of(path) == reference(path)
    assert len(read) == 1
    before = path.stat()
    time.sleep(0.05)  # more than a tick of the system's clock
    with path.open("r+b") as file:  # the same file, size and, as it says itself, time
        file.write(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert sha256_of(path) == reference(path)
    replaced = tmp_path / "other"
    replaced.write_bytes(b"six" * 500_000)
    replaced.replace(path)
    assert sha256_of(path) == reference(path)


def test_a_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "none")
