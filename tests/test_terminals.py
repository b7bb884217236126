"""Strange terminals and encodings: help ends at any width, text is written in any encoding, names obey no one."""

import io
import re
import sys

import pytest

from metaprobe.probe.cli import main
from metaprobe.probe.show import Grid, show
from metaprobe.reports.study.cache import Measuring, Training
from metaprobe.reports.study.study import Measurement
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.progress import ProgressLine, duration, telling

COMMANDS = (
    "", "train", "evaluate", "inspect", "diff", "capture", "similarity", "distance", "freeze", "clusters", "convert",
    "report", "list", "study", "study raghu2020", "study zhou2021",
)  # fmt: skip


class Stream(io.TextIOWrapper):
    """A stream of an encoding that can take no other letters; a terminal where that is asked for."""

    def __init__(self, encoding="utf-8", terminal=False):
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict")
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


def helped(command, monkeypatch, encoding="utf-8"):
    stream = Stream(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    return stream.text()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_a_terminal_of_two_columns_and_says_what_it_says_in_forty(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    wide = helped(command, monkeypatch)
    assert "usage: metaprobe" in wide
    for columns in ("1", "2"):
        monkeypatch.setenv("COLUMNS", columns)
        assert helped(command, monkeypatch) == wide


def test_a_wider_terminal_is_taken_as_it_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert max(map(len, helped("train", monkeypatch).splitlines())) > 100


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_written_in_ascii(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    told = helped(command, monkeypatch, "ascii")
    assert told.isascii()
    assert "\\u" not in told  # what help says has a spelling in ASCII


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
@pytest.mark.parametrize("terminal", [False, True])
def test_errors_tables_and_usage_are_written_in_any_encoding(encoding, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    for words, status in ((["list", "studies"], 0), (["train", "日本", "--data", "glyphs"], 2)):
        out, err = Stream(encoding, terminal), Stream(encoding, terminal)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert main(words) == status
        assert "raghu2020" in out.text() if status == 0 else "unknown algorithm" in err.text()


@pytest.mark.parametrize("unbroken", [frozenset(), frozenset({"a"})])
@pytest.mark.parametrize("columns", range(1, 12))
def test_tables_end_in_a_terminal_of_any_width(columns, unbroken, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "25")  # else rich takes a terminal that can do little for one of 80 columns
    monkeypatch.setenv("TERM", "dumb")
    stream = Stream(terminal=True)
    rows = (("日本\u202e語", 1.5, None), ("x" * 30, -1e300, True))
    show((Grid("title", ("a", "b", "c"), rows, (("fact", "y" * 50),), unbroken),), stream)
    assert "日" in stream.text()
    assert "\u202e" not in stream.text()


def written(monkeypatch, columns, *grids):
    for name, value in (("COLUMNS", str(columns)), ("LINES", "25"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    stream = Stream(terminal=True)
    show(grids, stream)
    return stream.text()


WIDE = Grid(
    "wide",
    ("layer", "inner_steps", "value", "said"),
    (("conv1.conv.weight", 12345, "0.172 [0.168, 0.176]", "words that may be broken"), ("head", None, "1", None)),
    (("source", "0123456789ab"),),
    frozenset({"value"}),
    ("a note of some words below",),
)


@pytest.mark.parametrize("columns", range(20, 100))
def test_no_word_number_or_interval_is_cut_and_no_line_is_wider_than_the_terminal(columns, monkeypatch):
    text = written(monkeypatch, columns, WIDE)
    assert max(map(len, text.splitlines())) <= columns
    for word in ("conv1.conv.weight", "12,345", "[0.168, 0.176]", "words", "broken", "source 0123456789ab", "below"):
        assert re.search(rf"(^|\s){re.escape(word)}($|\s)", text, re.M), word


def test_what_does_not_fit_is_stacked(monkeypatch):
    assert re.search(r"^ +inner_ *\nlayer +steps +value +said *$", written(monkeypatch, 60, WIDE), re.M)
    assert written(monkeypatch, 40, WIDE) == (
        "wide\nsource 0123456789ab\n"
        "layer        conv1.conv.weight\ninner_steps  12,345\nvalue        0.172 [0.168, 0.176]\n"
        "said         words that may be broken\n\n"
        "layer        head\nvalue        1\n\n"
        "a note of some words below\n"
    )


def test_a_word_wider_than_the_terminal_stands_below_its_name_and_whole(monkeypatch):
    facts = Grid("file", ("what", "value"), (("bytes", 9), ("fingerprint of it", "f" * 64), ("check", "it matches")))
    text = written(monkeypatch, 50, facts)
    assert text == f"file\nbytes              9\nfingerprint of it\n  {'f' * 64}\ncheck              it matches\n\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_names_of_files_in_a_line_of_progress_are_data(terminal, monkeypatch):
    stream = Stream(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("metaprobe.trainers.progress._SECONDS_BETWEEN_LINES", -1.0)
    with ProgressLine("[/red] \x1b]0;title\x07", 2) as bar:  # markup that closes what nothing opened
        bar.advance("[/note]")
    assert "[/red] \\x1b]0;title\\x07" in stream.text()
    assert "[/note]" in stream.text()


def test_wrong_usage_is_told_in_two_columns_of_ascii(monkeypatch):
    monkeypatch.setenv("COLUMNS", "2")
    stream = Stream("ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "maml", "--data", "…", "--n-wy", "3"])
    assert stopped.value.code == 2
    assert "--n-wy" in stream.text()


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "0 s"), (99, "99 s"), (450, "7.5 min"), (112_320, "31.2 h")])
def test_times_are_in_the_unit_that_suits_them(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize("terminal", [False, True])
def test_steps_are_named_as_they_begin_and_end_where_no_bar_shows_them(terminal, monkeypatch):
    stream = Stream(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with telling("train maml-seed0"):
        pass
    with pytest.raises(ValueError, match="too bad"), telling("capture of \x1bmaml-seed0"):
        raise ValueError("too bad")
    with pytest.raises(KeyboardInterrupt), telling("freezing"):
        raise KeyboardInterrupt
    told = [
        *("train maml-seed0: begins", "train maml-seed0: done after 0 s"),
        *("capture of \\x1bmaml-seed0: begins", "capture of \\x1bmaml-seed0: failed after 0 s"),
        *("freezing: begins", "freezing: stopped after 0 s"),
    ]
    assert stream.text().splitlines() == ([] if terminal else told)


def test_a_line_a_minute_says_how_far_it_is(monkeypatch):
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    now = iter([0.0, 30.0, 61.0, 90.0, 122.0])
    monkeypatch.setattr("metaprobe.trainers.progress.time.monotonic", lambda: next(now))
    with ProgressLine("maml on glyphs in maml-seed0", 1000, unit="tasks", per_step=4) as bar:
        for _ in range(4):
            bar.advance("loss 1.2")
    assert stream.text().splitlines() == [
        "maml on glyphs in maml-seed0: 2/1000  0.131 tasks/s  loss 1.2  8.5 h left",
        "maml on glyphs in maml-seed0: 4/1000  0.131 tasks/s  loss 1.2  8.4 h left",
    ]


def test_a_step_is_named_in_a_pipe_as_the_plan_names_it(tmp_path, capsys, monkeypatch, toy):
    monkeypatch.setattr("metaprobe.trainers.outer_loop.train", lambda config, data, folder: None)
    Training(tmp_path / "maml-seed0", TrainConfig("maml", "glyphs")).do(toy)
    work = Measuring("freezing of maml-seed0", tmp_path, "freezing", Measurement("nothing", ("maml",)), ())
    with pytest.raises(KeyError):
        work.do(toy)
    assert capsys.readouterr().err.splitlines() == [
        "train maml-seed0: begins",
        "train maml-seed0: done after 0 s",
        "freezing of maml-seed0: begins",
        "freezing of maml-seed0: failed after 0 s",
    ]
