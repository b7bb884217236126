"""`metaprobe doctor` and `--version`: what is here, what is broken, and that a broken library is told, not met."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from metaprobe.probe.cli import main
from metaprobe.probe.doctor import diagnosis, packages
from metaprobe.probe.doctor.importing import tried
from metaprobe.probe.doctor.packages import EXTRAS, Package, declared

ROOT = Path(__file__).resolve().parents[1]
FINE = {"torch": {"threads": 1, "cuda": None}, "blas": [], "devices": []}


def package(name, extra="", installed="1.0", fits=True, module="x"):
    return Package(name, ">=1", extra, installed, fits, module)


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A machine of four cores with two packages; a function that changes it."""
    monkeypatch.setenv("METAPROBE_DATA", str(tmp_path))
    monkeypatch.setattr(diagnosis, "_DRIVER", tmp_path / "no driver")
    monkeypatch.setattr(diagnosis, "_LITTLE", 0)
    monkeypatch.setattr(diagnosis.joblib, "cpu_count", lambda: 4)

    torch = package("torch")

    def change(found=(torch,), errors=(), told=FINE):
        monkeypatch.setattr(diagnosis, "declared", lambda: tuple(found))
        monkeypatch.setattr(diagnosis, "tried", lambda modules: (dict(errors), dict(told)))

    change()
    return change


def problems(**options):
    return {one.wrong: one.remedy for one in diagnosis.diagnose(**options).problems}


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"metaprobe {packages.own_version()}\n"


def test_all_that_is_declared_is_found_by_its_module():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"])
    found = {one.name: one for one in declared()}
    modules = {"pillow": "PIL", "scikit-learn": "sklearn", "umap-learn": "umap", "tomli-w": "tomli_w", "torch": "torch"}
    assert {name: found[name].module for name in modules} == modules
    assert all(one.state == "fine" for one in found.values() if not one.extra)
    assert found["pytest"].module == ""  # of the workshop: no command imports it


def test_modules_that_raise_end_or_hang_are_told_and_the_rest_is_tried(tmp_path, monkeypatch):
    texts = {
        "raises": "raise RuntimeError('operator torchvision::nms does not exist')",
        "aborts": "import os; os.abort()",
        "leaves": "import sys; print('what a library prints is no answer'); sys.exit('no licence')",
        "hangs": "import time; time.sleep(60)",
        "fine": "print('hello')",
        "torch": "raise OSError('libtorch.so: file too short')",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT / '.ci/src'}")
    monkeypatch.setattr("metaprobe.probe.doctor.importing._SECONDS", 20.0)
    errors, machine = tried(["raises", "fine", "aborts", "leaves", "torch", "not_there"])
    assert errors["raises"] == "RuntimeError: operator torchvision::nms does not exist"
    assert errors["fine"] == ""
    assert errors["aborts"].startswith("importing it ended the process by SIGABRT")
    assert errors["leaves"] == "importing it ended the process with status 1: no licence"
    assert errors["not_there"] == "ModuleNotFoundError: No module named 'not_there'"
    assert errors["torch"] == machine["error"] == "OSError: libtorch.so: file too short"
    monkeypatch.setattr("metaprobe.probe.doctor.importing._SECONDS", 1.5)
    assert tried(["hangs"])[0] == {"hangs": "importing it did not end in 1.5 s"}
    (tmp_path / "parting.py").write_text("import atexit, os; atexit.register(os.abort)")
    monkeypatch.setattr("metaprobe.probe.doctor.importing._SECONDS", 60.0)
    errors, machine = tried(["parting"])
    assert errors == {"parting": ""}
    assert machine["error"].startswith("leaving Python after all imports ended the process by SIGABRT")


def test_what_is_missing_old_or_broken_is_a_problem_with_a_remedy(here):
    vision = package("torchvision", module="torchvision")
    found = (package("torch", installed=None), package("numpy", fits=False), vision, package("timm", "timm", None))
    here(found, {"torchvision": "RuntimeError: nms"})
    told = problems()
    assert told["torch is not installed"] == "pip install 'torch>=1'"
    assert told["numpy 1.0 is not >=1"] == "pip install 'numpy>=1'"
    assert "belongs to this torch" in told["torchvision 1.0 does not import: RuntimeError: nms"]
    assert len(told) == 3  # an extra that is not there is none
    here(())
    assert "pip install -e ." in problems().values()


@pytest.mark.parametrize(("threads", "blas", "jobs", "told"), [
    (4, 4, 1, ""),
    (8, 4, 1, "8 threads on 4 cores"),
    (1, 8, 1, "8 threads on 4 cores"),
    (2, 2, 2, ""),
    (2, 4, 2, "2 processes × 4 threads on 4 cores"),
    (1, 1, 5, "5 processes × 1 threads on 4 cores"),
])  # fmt: skip
def test_more_threads_than_cores_are_a_problem(here, threads, blas, jobs, told):
    library = {"user_api": "blas", "internal_api": "openblas", "version": "0.3", "num_threads": blas}
    here(told={"torch": {"threads": threads, "cuda": None}, "blas": [library], "devices": []})
    found = problems(jobs=jobs)
    assert [one for one in found if told in one] == list(found)
    assert bool(found) == bool(told)
    if told:
        assert f"OMP_NUM_THREADS={max(1, 4 // jobs)} " in next(iter(found.values()))


def test_folders_drivers_and_memory(here, tmp_path, monkeypatch):
    (tmp_path / "omniglot-py" / "images_background").mkdir(parents=True)
    (tmp_path / "cifar100").mkdir()
    (tmp_path / "birds" / "wren").mkdir(parents=True)
    found = {one.name: one.where for one in diagnosis.diagnose().data}
    empty = {"cifar_fs": ""}  # the folder is there, and nothing in it
    assert found == {"omniglot": str(tmp_path / "omniglot-py"), "birds": str(tmp_path / "birds")} | empty
    assert problems() == {}
    (tmp_path / "no driver").touch()
    assert list(problems()) == ["there is an NVIDIA driver, and torch sees no CUDA device"]
    (tmp_path / "no driver").unlink()
    monkeypatch.setattr(diagnosis, "_LITTLE", 1 << 60)
    assert "of memory are free, for 2 processes" in next(iter(problems(jobs=2)))
    monkeypatch.setattr(diagnosis, "_LITTLE", 0)
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "a file" / "cache"))
    (tmp_path / "a file").touch()
    told = problems(data_root=tmp_path / "nowhere")
    assert [one.split(str(tmp_path))[0] for one in told] == ["the data root ", "the cache "]


def test_the_command_writes_tables_and_json_and_says_by_its_status_whether_something_is_wrong(here, capsys):
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "\n# problems\nwrong\twhat to do\nnothing\t\n" in told
    assert "torch\t>=1\t\t1.0\tfine\n" in told
    here((replace(package("torch"), installed=None),))
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == [{"wrong": "torch is not installed", "remedy": "pip install 'torch>=1'"}]
    assert main(["doctor", "--jobs", "0"]) == 2
    assert "--jobs must be at least 1; got 0" in capsys.readouterr().err
