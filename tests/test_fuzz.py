"""A fixed set of mutants of everything that is read; `python -m tests.fuzz` makes as many as there is time for."""

import dataclasses
import faulthandler
import mmap
import time
from collections import Counter

import pytest
from safetensors.numpy import load_file

from metaprobe.trainers.errors import MetaprobeError
from tests.fuzz import campaign as campaigns
from tests.fuzz.campaign import Campaign, Mutant, subject_of
from tests.fuzz.mutation import Mutation, apply, minimised
from tests.fuzz.outcome import FAILURES, HANG, MEMORY, OTHER, REFUSED, SAME, TRACEBACK, UNCLEAR, command
from tests.fuzz.subjects import SUBJECTS

MUTANTS = {
    "checkpoint": 30, "clusters": 12, "store": 24, "raw store": 8, "zstd store": 8, "similarity": 2, "state dict": 16,
    "safetensors": 12, "zip": 16, "tar": 12, "tar.gz": 12, "images": 12, "run": 10, "image cache": 16,
    "activations": 12, "tasks": 12, "pickled": 12, "parquet": 8, "weights": 8,
}  # fmt: skip
"""How many of each subject; a whole study is too slow for here."""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    made = Campaign(tmp_path_factory.mktemp("fuzz") / "root")
    made.write(tuple(MUTANTS))
    return made


@pytest.fixture(autouse=True)
def watched():
    """A library that hangs on a mutant ends the tests with a trace: no handler of ours can reach into it."""
    faulthandler.dump_traceback_later(300, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("subject", MUTANTS)
def test_mutants_give_the_same_numbers_or_are_refused_in_one_line(campaign, subject):
    counts = Counter()
    for seed in range(MUTANTS[subject]):
        mutant = campaign.mutant(subject, seed)
        outcome, done = campaign.judge(mutant)
        assert not outcome.failed, f"{outcome}\nafter {done}\n{outcome.trace}"
        counts[outcome.kind] += 1
    assert counts[REFUSED] > 0 or subject == "similarity"


def test_a_mutator_may_stumble_over_what_another_did_and_over_nothing_else(tmp_path):
    def fail(path, rng, size):
        raise RecursionError

    families = {"text": {"cut": lambda path, rng, size: "cut", "fail": fail}}
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "file").write_text("x")
    cut, fails = (Mutation("file", f"text.{name}", 1, 1) for name in ("cut", "fail"))
    done = apply((cut, fails), tmp_path / "clean", tmp_path / "place", families)
    assert done == ["file: cut", "file: nothing, for what was done to it before"]
    with pytest.raises(RecursionError):
        apply((fails,), tmp_path / "clean", tmp_path / "place", families)


def test_a_seed_alone_decides_a_mutant(campaign):
    assert [subject_of(seed) for seed in range(99)] == [subject_of(seed) for seed in range(99)]
    assert {subject_of(seed) for seed in range(400)} == set(SUBJECTS)
    assert subject_of(5, ("store",)) == "store"
    first, again = (campaign.mutant("checkpoint", 7) for _ in range(2))
    assert first == again != campaign.mutant("checkpoint", 8)
    files = []
    for _ in range(2):
        campaign.judge(first)
        files.append([path.read_bytes() for path in sorted(campaign.place.glob("*")) if path.is_file()])
    assert files[0] == files[1]


def reads(monkeypatch, *readers):
    """Let only these readers read checkpoints, and only bytes and fields be changed: they would wait for a pipe."""
    targets = (("mine.safetensors", ("bytes", "safetensors")),)
    named = {f"reader {number}": reader for number, reader in enumerate(readers)}
    careless = dataclasses.replace(SUBJECTS["checkpoint"], targets=targets, readers=named)
    monkeypatch.setitem(SUBJECTS, "careless", careless)


@pytest.fixture
def own(campaign):
    """A campaign of its own on the same clean files, one of which is read by careless readers."""
    clean = campaign.root / "clean"
    if not (clean / "careless").exists():
        (clean / "careless").symlink_to(clean / "checkpoint")
    return Campaign(campaign.root, "careless mutant")


def test_a_reader_that_ignores_damage_is_found_out(own, monkeypatch):
    reads(monkeypatch, lambda: {"weights": load_file("mine.safetensors")})  # the library's own checks no sum
    counts = Counter(own.judge(own.mutant("careless", seed))[0].kind for seed in range(90))
    assert counts[OTHER] > 3 and counts[TRACEBACK] > 3
    assert counts[SAME] > 3  # metadata, which it does not read


def _raises(error):
    raise error


def _busy(seconds):
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass
    return {"number": -0.0}


def _touched(size):
    """Take fresh memory, whatever this process has to give again, and return 0."""
    with mmap.mmap(-1, size) as memory:
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1
    return 0


@pytest.mark.parametrize(
    ("reader", "kind"),
    [
        (lambda: _raises(MetaprobeError("the file is damaged")), REFUSED),
        (lambda: _raises(MetaprobeError("")), UNCLEAR),
        (lambda: _raises(ValueError("the file is damaged")), TRACEBACK),
        (lambda: _raises(MemoryError()), TRACEBACK),
        (lambda: {"more": 1}, OTHER),
        (lambda: {"number": 0.0}, OTHER),
        (lambda: {"number": -0.0}, SAME),
        (lambda: _busy(5), HANG),
        (lambda: {"number": -float(_touched(100 << 20))}, MEMORY),
        (lambda: {"told": command("inspect", "nothing.safetensors")}, REFUSED),
        (lambda: _raises(SystemExit(2)), TRACEBACK),
    ],
)
def test_what_a_reader_does_has_its_name(own, monkeypatch, reader, kind):
    if kind == HANG:
        monkeypatch.setattr(campaigns, "SECONDS", 0.2)
    monkeypatch.setattr(campaigns, "BYTES", 30 << 20)
    calls = iter((lambda: {"number": -0.0}, reader))  # the first call reads the clean file
    reads(monkeypatch, lambda: next(calls)())
    outcome, _ = own.judge(own.mutant("careless", 3))
    assert outcome.kind == kind
    assert outcome.failed == (kind in FAILURES)


def test_failures_are_made_smaller_and_kept(own, monkeypatch, tmp_path):
    kinds = ("bytes.append", "bytes.truncate", "bytes.zeros")
    mutations = tuple(Mutation("mine.safetensors", kind, 5, 4096) for kind in kinds)
    found = minimised(mutations, lambda them: any(one.mutator == "bytes.zeros" and one.size >= 8 for one in them))
    assert found == (Mutation("mine.safetensors", "bytes.zeros", 5, 8),)
    reads(monkeypatch, lambda: {"weights": load_file("mine.safetensors")})
    mutant = Mutant("careless", 5, found)
    outcome, done = own.judge(mutant)
    own.keep(tmp_path, mutant, outcome, done)
    assert {path.name for path in (tmp_path / "careless-5").iterdir()} == {"failure.json", "mine.safetensors"}
    assert (tmp_path / "careless-5" / "mine.safetensors").read_bytes() == (own.place / "mine.safetensors").read_bytes()
