"""Similarity of activations in files of arrays: what is read, what is refused, and the numbers."""

import itertools
import json
import warnings
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from metaprobe.analyses.arrays import open_arrays, similarity_of_arrays
from metaprobe.analyses.arrays.files import holds_arrays, read_groups
from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.probe.cli import main
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from tests import reference_measures

CKA = (MEASURES["linear_cka"], MEASURES["debiased_cka"])


def linear_cka(x, y):
    return reference_measures.linear_cka(x.astype(np.float64), y.astype(np.float64))


def drawn(n=60, p=6, q=5, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, p))
    return x.astype(np.float32), (x @ generator.normal(size=(p, q)) + generator.normal(size=(n, q))).astype(np.float32)


def table_of(a, b, measures=CKA, **options):
    with open_arrays(a) as one, open_arrays(b) as other:
        return similarity_of_arrays(one, other, measures, **options)


def values(table):
    return {(row.layer, row.other_layer, row.measure): row.value for row in table.rows}


@pytest.fixture
def pair(tmp_path):
    x, y = drawn()
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "b.npy", y)
    return tmp_path / "a.npy", tmp_path / "b.npy"


def test_value_is_the_reference_and_rows_say_what_they_are(pair):
    row, null = table_of(*pair, CKA[:1]).rows
    assert row.value == pytest.approx(linear_cka(*drawn()), abs=1e-10)
    assert (row.layer, row.other_layer, row.n, row.samples, null.measure) == ("a", "b", 60, None, "linear_cka_null")
    assert row.low < row.value < row.high and null.value < row.low
    assert (len(row.source), row.reason) == (25, None)


def test_every_kind_of_file_is_known_by_its_content_and_says_the_same(tmp_path):
    x, y = drawn()
    with (tmp_path / "x.txt").open("wb") as file:
        np.save(file, np.asfortranarray(x))
    np.savez(tmp_path / "plain.npz", l1=x, l2=y)
    np.savez_compressed(tmp_path / "packed.npz", l1=x, l2=y)
    save_file({"l1": x, "l2": y}, tmp_path / "tensors.npy")
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_dataset("l1", data=x, compression="gzip")
        file["l2"] = y
    want = linear_cka(x, y)
    for name in ("plain.npz", "packed.npz", "tensors.npy", "group.h5"):
        assert holds_arrays(tmp_path / name)
        found = values(table_of(tmp_path / name, tmp_path / "x.txt", CKA[:1], permutations=0, replicates=0))
        assert found["l1", "x", "linear_cka"] == pytest.approx(1.0)
        assert found["l2", "x", "linear_cka"] == pytest.approx(want, abs=1e-10)
    with h5py.File(tmp_path / "nested.h5", "w") as file:
        file["body/l1"] = x.astype(np.float16)
    with open_arrays(tmp_path / "nested.h5") as file:
        assert [(one.name, one.eps) for one in file.arrays] == [("body/l1", 2**-10)]


def test_bfloat16_is_read_with_its_own_rounding(tmp_path):
    import torch
    from safetensors.torch import save_file as save_torch

    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    save_torch({"l": x}, tmp_path / "t.safetensors")
    with open_arrays(tmp_path / "t.safetensors") as file:
        (array,) = file.arrays
        np.testing.assert_array_equal(np.concatenate(list(array.blocks(7))), x.float().numpy())
        assert array.eps == 2**-7


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_an_array_larger_than_a_quarter_of_memory_streams(tmp_path, monkeypatch, kind):
    """The seam: memory is said to be small; then moments alone are kept, and the numbers are the same."""
    x, y = drawn(3000)
    for name, array in (("a", x), ("b", y)):
        if kind == "npy":
            np.save(tmp_path / f"{name}.npy", array)
        elif kind == "npz":
            np.savez(tmp_path / f"{name}.npz", l=array)
        else:
            with h5py.File(tmp_path / f"{name}.h5", "w") as file:
                file["l"] = array
    paths = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    monkeypatch.setattr("metaprobe.analyses.arrays.view._BLOCK", 1000)
    whole = values(table_of(*paths, permutations=0))
    monkeypatch.setattr("metaprobe.analyses.arrays.similarity.memory", lambda: 4 * 200_000)
    monkeypatch.setattr("metaprobe.analyses.arrays.resampling.Pair.of_arrays", None)  # never whole
    streamed = table_of(*paths, permutations=0)
    assert values(streamed) == pytest.approx(whole, abs=1e-6)
    assert all(row.low is not None and "groups of the 3,000 samples" in row.reason for row in streamed.rows)
    monkeypatch.setattr("metaprobe.analyses.arrays.similarity.memory", lambda: 4 * 20_000)
    assert all("no interval" in row.reason for row in table_of(*paths, permutations=0).rows)
    monkeypatch.setattr("metaprobe.analyses.arrays.similarity.memory", lambda: 4 * 1000)
    with pytest.raises(MetaprobeError, match="too wide for this machine's memory"):
        table_of(*paths)


def test_intervals_of_independent_wide_layers_hold_zero(tmp_path):
    """A bootstrap draws samples twice, which are alike: its interval reached from −0.86 to 0.00 here."""
    generator = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", generator.normal(size=(60, 288)))
    np.save(tmp_path / "b.npy", generator.normal(size=(60, 288)))
    (row,) = table_of(tmp_path / "a.npy", tmp_path / "b.npy", CKA[1:], permutations=0).rows
    assert -0.2 < row.low < 0 < row.high < 0.2


@pytest.mark.parametrize(
    ("replicates", "told"), [(0, ""), (38, "38 halves of the samples are fewer than the 39"), (39, "")]
)
def test_what_keeps_an_interval_away_is_told(tmp_path, replicates, told):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "one.npz", l1=rng.normal(size=(300, 4)), l2=rng.normal(size=(300, 4)))
    table = table_of(tmp_path / "one.npz", tmp_path / "one.npz", CKA[:1], permutations=0, replicates=replicates)
    for row in table.rows:
        assert (row.low is None) == (replicates < 39)
        assert told in (row.reason or "")
        assert "interval over" not in (row.reason or "") or replicates == 39


def test_samples_of_a_group_stay_together(tmp_path):
    x, y = drawn(20)
    np.save(tmp_path / "a.npy", np.repeat(x, 20, axis=0))
    np.save(tmp_path / "b.npy", np.repeat(y, 20, axis=0))
    np.save(tmp_path / "g.npy", np.repeat([f"subject {i}" for i in range(20)], 20))
    groups = read_groups(tmp_path / "g.npy", 400)
    single, grouped = (
        table_of(tmp_path / "a.npy", tmp_path / "b.npy", CKA[:1], permutations=0, groups=told).rows[0]
        for told in (None, groups)
    )
    assert grouped.high - grouped.low > 2 * (single.high - single.low)
    np.save(tmp_path / "g.npy", np.arange(30))
    with pytest.raises(UnreadableInput, match=r"shape \(400,\), the group of each sample"):
        read_groups(tmp_path / "g.npy", 400)


def test_convolutions_are_positions_or_images(tmp_path):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(30, 4, 3, 3)), generator.normal(size=(30, 5, 3, 3))
    np.savez(tmp_path / "a.npz", conv=x, head=x.mean(axis=(2, 3)))
    np.savez(tmp_path / "b.npz", conv=y)
    conv, head = table_of(tmp_path / "a.npz", tmp_path / "b.npz", CKA[:1], permutations=0, replicates=0).rows
    rows = [z.transpose(0, 2, 3, 1).reshape(270, -1) for z in (x, y)]
    assert (conv.samples, conv.n) == ("positions", 270) and conv.value == pytest.approx(linear_cka(*rows))
    assert head.status == "undefined" and "ask" not in head.reason and "--samples images" in head.reason
    options = {"permutations": 0, "replicates": 0}
    image = table_of(tmp_path / "a.npz", tmp_path / "b.npz", CKA[:1], samples="images", **options).rows[0]
    flat = linear_cka(x.reshape(30, -1), y.reshape(30, -1))
    assert (image.samples, image.n, image.value) == ("images", 30, pytest.approx(flat))
    last = table_of(tmp_path / "b.npz", tmp_path / "b.npz", CKA[:1], channel_axis=-1, **options).rows[0]
    assert (last.n, last.value) == (450, pytest.approx(1.0))  # height 3 and channel 5 are positions, width the features


def test_entries_that_are_no_numbers_name_their_sample(tmp_path, pair, monkeypatch):
    monkeypatch.setattr("metaprobe.analyses.arrays.view._BLOCK", 100)
    x = drawn()[0]
    x[37, 2] = np.nan
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(UnreadableInput, match=r"a.npy: sample 37 has entries that are NaN or infinite"):
        table_of(*pair)


def test_each_two_files_are_drawn_by_their_names_though_two_hold_the_same(tmp_path):
    x, y = drawn()
    held = {"one against/z.npz": x, "two/z.npz": x, "two/y.npz": y}
    for name, values in held.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.savez(tmp_path / name, l1=values, l2=y)
    given, figure = [str(tmp_path / name) for name in held], tmp_path / "maps.svg"
    amount = ["--measures", "cka", "--replicates", "0", "--permutations", "0"]
    assert main(["similarity", *given, *amount, "--figure", str(figure)]) == 0
    caption = ElementTree.fromstring(figure.read_bytes())[0].text
    for a, b in itertools.combinations(held, 2):
        assert f" {a} against {b}: largest l" in caption
    assert caption.count("largest l") == 3


def test_commands(tmp_path, pair, capsys):
    a, b = map(str, pair)
    assert main(["similarity", a, b, "--measures", "cka", "--json"]) == 0
    assert [row["measure"] for row in json.loads(capsys.readouterr().out)] == ["linear_cka", "linear_cka_null"]
    x, y = drawn()
    np.savez(tmp_path / "l.npz", l1=x, l2=y, labels=np.arange(60))
    figure = tmp_path / "map.svg"
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["similarity", str(tmp_path / "l.npz"), "--measures", "cka", "--figure", str(figure)]) == 0
    out, err = capsys.readouterr()
    assert "left out: " in err and "labels: holds int64" in err
    assert "<svg" in figure.read_text() and "l2" in out
    np.save(tmp_path / "short.npy", x[:50])
    told = {
        (a, str(tmp_path / "short.npy")): "60 samples and",
        (a,): "holds one array",
        (a, a): "is given twice",
        (a, b, "--over", "tasks"): "--over tasks is for activation stores",
        (a, b, "--layers", "matching"): "no name is in both",
        (a, str(tmp_path / "nowhere.npy")): "cannot be opened",
        (a, str(figure)): "expected arrays (.npy, .npz, HDF5, safetensors), got a text file",
        (a, b, "--groups", a): "expected whole numbers or text",
    }
    for words, sentence in told.items():
        assert main(["similarity", *words]) in (2, 3)
        assert sentence in capsys.readouterr().err
