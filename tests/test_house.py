"""The rules of the house that a machine can check: documentation, imports, start-up, what is never used."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("trainers", "probe", "analyses", "reports")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def modules():
    for package in PACKAGES:
        root = importlib.import_module(f"metaprobe.{package}")
        yield root
        for found in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
            yield importlib.import_module(found.name)


@pytest.mark.parametrize("module", list(modules()), ids=lambda module: module.__name__)
def test_public_names_are_documented(module):
    assert (module.__doc__ or "").strip(), f"{module.__name__} has no docstring"
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        assert (thing.__doc__ or "").strip(), f"{module.__name__}.{name} has no docstring"
        if inspect.isclass(thing) and thing.__module__.startswith("metaprobe."):
            for method, value in vars(thing).items():
                if not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                    inherited = any(getattr(base, method, None) is not None for base in thing.__mro__[1:])
                    assert inherited or (value.__doc__ or "").strip(), f"{module.__name__}.{name}.{method}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_small_and_use_nothing_forbidden(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 280, "wants to be two files"
    tree = ast.parse(text)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"pickle", "dill", "cloudpickle", "shelve", "marshal"}
    lists_pickles = ("probe/inspection/pickle_listing.py", "trainers/formats/array_pickle.py")
    assert "pickletools" not in imported or path.relative_to(ROOT).as_posix() in lists_pickles
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not {"torch.manual_seed", "np.random.seed", "random.seed", "torch.save"} & set(calls)
    assert (
        not {"joblib.load", "joblib.dump", "load", "dump"} & set(calls) or "joblib" not in text
    )  # pickles in disguise
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert "weights_only=True" in ast.unparse(node)
        if isinstance(node, ast.ExceptHandler):
            assert not all(isinstance(part, ast.Pass) for part in node.body), f"line {node.lineno}: ignored error"
            assert node.type is not None, f"line {node.lineno}: bare except"


MOST = {"papers/raghu2020": 820, "papers/zhou2021": 540, "papers/arnold2021": 540, "papers/antoniou2019": 384}


@pytest.mark.parametrize(("room", "most"), [*MOST.items(), ("probing", 705)])
def test_a_room_is_small_and_draws_nothing_but_figures_of_its_own_kind(room, most):
    files = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "reports" / room).rglob("*.py")}
    assert files and sum(text.count("\n") for text in files.values()) <= most
    own = [text for text in files.values() if "Custom(" in text]
    for name, text in files.items():
        drawn = f"metaprobe.reports.{room.replace('/', '.')}.{name} import draw"
        assert "matplotlib" not in re.sub(r"#.*", "", text) or text in own or drawn in "".join(own), name


def without_torch(*arguments):
    """Run a command in a fresh process that fails when torch or matplotlib was imported on the way."""
    code = (
        "import sys\nfrom metaprobe.probe.cli import main\ntry:\n    status = main(sys.argv[1:])\nfinally:\n"
        "    assert not {'torch', 'matplotlib'} & set(sys.modules), 'it was imported'\nsys.exit(status)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


COMMANDS = (
    "train", "evaluate", "inspect", "diff", "capture", "similarity", "distance", "freeze", "convert", "report", "study",
    "list", "doctor",
)  # fmt: skip


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in COMMANDS), ("study", "zhou2021")], ids=lambda words: " ".join(words) or "-"
)
def test_help_needs_no_torch(command):
    done = without_torch(*command, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: metaprobe" in done.stdout


@pytest.mark.parametrize("what", ["algorithms", "update_rules", "datasets", "measures", "studies"])
def test_list_needs_no_torch(what):
    done = without_torch("list", what)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("name\t")
    assert len(done.stdout.splitlines()) >= 2


def test_inspect_needs_no_torch_and_draws_nothing_unasked():
    done = without_torch("inspect", "reports/demo/maml-glyphs", "--stats")
    assert done.returncode == 0, done.stderr


def test_import_needs_no_network_and_leaves_the_random_state_alone():
    code = (
        "import socket, random\n"
        "import numpy as np\n"
        "def refuse(*a, **k): raise AssertionError('network at import')\n"
        "socket.socket.connect = refuse\n"
        "import torch, rich.progress, tyro, scipy.stats, safetensors.torch, h5py, matplotlib.figure, pandas\n"
        "before = (random.getstate(), np.random.get_state()[1].tolist())\n"
        "from metaprobe.trainers import outer_loop\nfrom metaprobe.probe import cli\n"
        "from metaprobe.analyses import similarity\nfrom metaprobe.reports import registry\n"
        "from metaprobe.reports.study import run\n"
        "assert before == (random.getstate(), np.random.get_state()[1].tolist())\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
