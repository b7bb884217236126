"""Files of arrays that cannot be read are refused, each in one sentence."""

import io
import os
import zipfile

import h5py
import numpy as np
import pytest

from metaprobe.analyses.arrays import open_arrays
from metaprobe.trainers.errors import UnreadableInput
from tests.test_arrays import drawn


def _objects(path):
    np.save(path, np.array([{}, {}], dtype=object), allow_pickle=True)


def _claims(path):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": (10**12, 8), "fortran_order": False, "descr": "<f4"})
    path.write_bytes(stream.getvalue() + bytes(64))


def _links(path):
    with h5py.File(path, "w") as file:
        file["x"] = h5py.ExternalLink("/etc/passwd", "/")


def _unwritten(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10**9, 64), "f4", chunks=(1000, 64))


def _long(libver):
    def make(path):  # HDF5 itself does not mind, and so much would have to be hashed
        with h5py.File(path, "w", libver=libver) as file:
            file["x"] = drawn()[0]
        os.truncate(path, 5 * 2**30)

    return make


def _zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")


def _cut_zip(path):
    np.savez(path, x=drawn()[0])
    path.write_bytes(path.read_bytes()[:-40])


REFUSED = {
    "objects": (_objects, "holds Python objects"),
    "claims": (_claims, "claims 32,000,000,000,000 bytes of an array, 64 follow it"),
    "integers": (lambda path: np.save(path, np.ones((20, 3), int)), "holds int64, and activations are float16"),
    "complex": (lambda path: np.save(path, np.ones((20, 3), complex)), "holds complex128"),
    "vector": (lambda path: np.save(path, np.ones(20)), r"has shape \(20,\), expected \(sample, feature\)"),
    "five axes": (lambda path: np.save(path, np.ones((20, 1, 1, 1, 1))), r"has shape \(20, 1, 1, 1, 1\)"),
    "nothing": (lambda path: np.save(path, np.ones((0, 3))), "holds nothing"),
    "records": (lambda path: np.save(path, np.zeros(20, "f4,f4")), "holds records"),
    "links": (_links, "is a link to elsewhere"),
    "unwritten": (_unwritten, "claims 256,000,000,000 bytes and 0 are stored"),
    "long": (_long(("earliest", "v108")), "says that it ends at byte"),
    "long, new": (_long("latest"), "says that it ends at byte"),
    "torch": (_zip, "torch.save writes such"),
    "cut": (_cut_zip, "damaged .npz"),
}


@pytest.mark.parametrize(("make", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_one_sentence(tmp_path, make, told):
    path = tmp_path / ("x.npz" if "npz" in told else "x.npy")
    make(path)
    with pytest.raises(UnreadableInput, match=rf"^{path}[^\n]*{told}[^\n]*$"), open_arrays(path):
        pass
