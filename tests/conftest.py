"""What tests share: tiny image sets, and a cache of their own."""

import os

import numpy as np
import pytest
import torch

from metaprobe.trainers.tasks.imageset import ImageSet

torch.set_num_threads(1)  # tiny tensors: threads cost more than they give, and results must not depend on the machine


def make_imageset(n_classes=24, per_class=20, size=28, channels=1, seed=0, name="toy"):
    """Classes are random smooth patterns, images noisy copies: learnable, and made in milliseconds."""
    generator = np.random.default_rng(seed)
    coarse = generator.random((n_classes, channels, 7, 7))
    patterns = coarse.repeat(-(-size // 7), axis=2).repeat(-(-size // 7), axis=3)[:, :, :size, :size]
    noise = generator.normal(0, 0.15, (n_classes, per_class, channels, size, size))
    images = np.clip(patterns[:, None] + noise, 0, 1)
    third = n_classes // 3
    return ImageSet(
        name=name,
        images=np.ascontiguousarray((255 * images).astype(np.uint8).reshape(-1, channels, size, size)),
        class_of=np.repeat(np.arange(n_classes), per_class).astype(np.int64),
        class_names=tuple(f"class{i:02d}" for i in range(n_classes)),
        groups=tuple(f"group{i % 3}" for i in range(n_classes)),
        splits=("train",) * (n_classes - 2 * third) + ("val",) * third + ("test",) * third,
    )


def shared_folder(tmp_path_factory):
    """Return the folder that a run of the suite has, also where its tests run in several processes."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or fills the user's cache; all processes have one, as embedded sets take seconds to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METAPROBE_CACHE", str(shared_folder(tmp_path_factory) / "cache"))
        yield


@pytest.fixture(scope="session")
def toy():
    return make_imageset()
