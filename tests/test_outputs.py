"""What may be written where: files are replaced whole, and nothing else is."""

import os
import socket
import stat
from pathlib import Path

import pytest

from trainers.errors import MetaprobeError
from trainers.files import replacing, write_text


def pipe(place):
    os.mkfifo(place)


def bound_socket(place):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place))


def link_to_a_device(place):
    place.symlink_to("/dev/null")


KINDS = {
    "a folder": Path.mkdir,
    "a pipe": pipe,
    "a socket": bound_socket,
    "a device": link_to_a_device,
    "a stream of this process": lambda place: place.symlink_to("/proc/self/exe"),  # a regular file behind it
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_never_replaced(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket may be no longer than 100 letters
    place = Path("out")
    KINDS[kind](place)
    before = place.lstat()
    with pytest.raises(MetaprobeError, match=f"^out is {kind} and would be replaced by a file; name another") as told:
        write_text(place, "text")
    assert "\n" not in str(told.value)
    assert place.lstat() == before
    assert os.listdir() == ["out"]  # no temporary file either


def test_files_links_to_them_and_links_to_nothing_are_written(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    (tmp_path / "loose").symlink_to(tmp_path / "nothing")
    for name in ("old", "link", "loose", "new"):
        with replacing(tmp_path / name) as temporary:
            temporary.write_text("new")
        assert stat.S_ISREG((tmp_path / name).stat().st_mode)
        assert (tmp_path / name).read_text() == "new"
