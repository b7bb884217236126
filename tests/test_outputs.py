"""What may be written where: files are replaced whole, and nothing else is."""

import os
import socket
import stat
from pathlib import Path

import pytest

from metaprobe.probe.cli import main
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.files import replacing, write_text


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


COMMANDS = {
    "capture A.safetensors --out": "A.safetensors",
    "similarity s.h5 --csv": "s.h5",
    "similarity s.h5 t.h5 --figure": "t.h5",
    "distance A.safetensors --csv": "A.safetensors",
    "distance A.safetensors --figure": "A.safetensors",
    "inspect A.safetensors --figure": "A.safetensors",
    "similarity s.h5 --figure": "s.h5",
    "freeze A.safetensors --figure": "A.safetensors",
    "freeze B.safetensors A.safetensors --csv": "A.safetensors",
    "clusters A.safetensors --csv": "A.safetensors",
    "clusters A.safetensors --figure": "A.safetensors",
    "report run --out": "",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_refuse_it_before_they_do_anything(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("out.svg")
    assert main([*command.split(), "out.svg"]) == 2  # what it would read is not even there
    assert capsys.readouterr().err.startswith("error: out.svg is a pipe and would be replaced")
    assert stat.S_ISFIFO(Path("out.svg").lstat().st_mode)
    if read := COMMANDS[command]:
        Path("link").symlink_to(read)
        for name in (read, "link"):
            assert main([*command.split(), name]) == 2
            told = capsys.readouterr().err
            assert told == f"error: {name} would be overwritten: this command reads it; name another file to write\n"


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.endswith("--figure")])
def test_a_figure_of_another_kind_is_refused_before_anything_is_done(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*command.split(), "out.gif"]) == 2
    told = "error: --figure writes SVG, PDF or PNG by the file's ending, .svg, .pdf or .png; got out.gif\n"
    assert capsys.readouterr().err == told


def test_two_outputs_are_not_one_file(capsys, tmp_path):
    place = str(tmp_path / "one.svg")
    assert main(["clusters", "A.safetensors", "--csv", place, "--figure", place]) == 2
    assert "two tables or figures are to be written there" in capsys.readouterr().err
