"""Weights from elsewhere become checkpoints that compute what their networks compute."""

import argparse
import sys

import pytest
import torch
from torch import nn

from metaprobe.probe.importing import Wanted, import_weights
from metaprobe.probe.importing.wanted import adaptation_of
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.networks import norm_parameters
from metaprobe.trainers.networks.resnet12 import ResNet12
from metaprobe.trainers.user_code import USER_CODE
from tests.foreign import USER_CODE as MYNET
from tests.foreign import L2LMini, L2LOmniglot, LibFewShot, shaken


def wanted(channels=1, size=28, **options):
    return Wanted(5, channels, size, **{"inner_lr": 0.1, "inner_steps": 2, **options})


@pytest.fixture
def mynet(tmp_path, monkeypatch):
    """A user's module in the working folder, allowed as the command line allows it."""
    (tmp_path / "mynet.py").write_text(MYNET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    token = USER_CODE.set("mynet:build")
    yield "mynet:build"
    USER_CODE.reset(token)
    sys.modules.pop("mynet", None)


@pytest.fixture(autouse=True)
def _no_code():
    token = USER_CODE.set(None)
    yield
    USER_CODE.reset(token)


def own_net(width=4):
    import mynet

    torch.manual_seed(0)
    return shaken(mynet.Net(5, 1, width))


CONV4S = {
    "learn2learn OmniglotCNN": (L2LOmniglot, 1, 28),
    "learn2learn CNN4 (MiniImagenetCNN)": (L2LMini, 3, 16),
    "LibFewShot Conv64F/Conv32F with a linear classifier": (LibFewShot, 3, 32),
}


@pytest.mark.parametrize("told", CONV4S)
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.module."])
def test_a_conv4_of_others_is_known_and_computes_what_theirs_does(told, wrapper, tmp_path):
    make, channels, size = CONV4S[told]
    torch.manual_seed(0)
    network = shaken(make())
    path = tmp_path / "weights"
    torch.save({"model": {wrapper + name: value for name, value in network.state_dict().items()}, "step": 3}, path)
    found = import_weights(path, wanted(channels, size))
    assert told in dict(found.facts)["network"]
    images = torch.rand(10, channels, size, size, dtype=torch.float64)
    ours, theirs = found.checkpoint.network().double(), network.double().train()
    assert (ours(images) - theirs(images)).abs().max() < 1e-10
    assert "bias that the norm" in dict(found.facts)["left out, no place for"]


def test_the_real_learn2learn_computes_the_same(tmp_path):
    models = pytest.importorskip("learn2learn.vision.models")
    network = models.OmniglotCNN(5)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    images = torch.rand(10, 1, 28, 28)
    ours = import_weights(tmp_path / "w.pth", wanted()).checkpoint.network()
    assert torch.allclose(ours(images), network(images), atol=1e-5)


SAVED = {
    "bare": lambda w: w,
    "state_dict": lambda w: {"state_dict": w, "epoch": 3},
    "beside lone tensors": lambda w: {"net": w, "best": torch.tensor(3.0), "loss": torch.ones(4)},
    "model_sd": lambda w: {"model_sd": w, "training": {"optimizer": "SGD"}},
    "state": lambda w: {"state": w},
    "lightning": lambda w: {
        "state_dict": {f"model.{n}": v for n, v in w.items()},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}],
        "pytorch-lightning_version": "2.0",
    },
    "namespace": lambda w: {"network": w, "args": argparse.Namespace(lr=0.1, inner=argparse.Namespace(steps=5))},
    "twice wrapped": lambda w: {"model": {"state_dict": w, "epoch": 1}},
}


@pytest.mark.parametrize("how", SAVED)
@pytest.mark.parametrize("name", ["w.pth.tar", "w.ckpt", "w"])
def test_weights_are_found_in_what_people_save(how, name, mynet, tmp_path):
    network = own_net()
    torch.save(SAVED[how](network.state_dict()), tmp_path / name)
    checkpoint = import_weights(tmp_path / name, wanted(network=mynet)).checkpoint
    images = torch.rand(6, 1, 28, 28)
    network.drop.eval()
    assert torch.allclose(checkpoint.network()(images), network(images), atol=1e-6)


def test_of_weights_under_two_keys_one_must_be_named(mynet, tmp_path):
    one, other = own_net().state_dict(), shaken(own_net(), 3).state_dict()
    torch.save({"model": one, "net": other}, tmp_path / "w")
    with pytest.raises(MetaprobeError, match=r"under (net and under model|model and under net); say which with --key"):
        import_weights(tmp_path / "w", wanted(network=mynet))
    found = import_weights(tmp_path / "w", wanted(network=mynet, key="net")).checkpoint
    assert torch.equal(found.params["head.weight"], other["head.weight"])


def test_an_optimiser_beside_is_no_weight_and_half_becomes_float32(mynet, tmp_path):
    network = own_net()
    halves = {
        name: value.bfloat16() if value.is_floating_point() else value for name, value in network.state_dict().items()
    }
    torch.save({"model": halves, "optimizer": torch.optim.Adam(network.parameters()).state_dict()}, tmp_path / "w.pt")
    found = import_weights(tmp_path / "w.pt", wanted(network=mynet))
    assert dict(found.facts)["BF16 made float32"] == "8 tensors"
    assert all(value.dtype == torch.float32 for value in found.checkpoint.params.values())


def test_tied_weights_are_one_and_must_agree(tmp_path, monkeypatch):
    (tmp_path / "tied.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)\n        self.b.weight = self.a.weight\n"
        "        self.head = nn.Linear(16, 5)\n    def forward(self, x):\n"
        "        return self.head(self.b(self.a(x.flatten(1)).tanh()))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    USER_CODE.set("tied:Net")
    import tied

    network = shaken(tied.Net())
    weights = network.state_dict()
    path, images = tmp_path / "w", torch.rand(3, 1, 4, 4)
    for kept in (weights, {n: v for n, v in weights.items() if n != "a.weight"}):
        torch.save(kept, path)
        checkpoint = import_weights(path, wanted(size=4, network="tied:Net")).checkpoint
        assert "b.weight" not in checkpoint.params
        assert torch.allclose(checkpoint.network()(images), network(images), atol=1e-6)
    torch.save(weights | {"b.weight": weights["b.weight"] + 1}, path)
    with pytest.raises(MetaprobeError, match=r"a.weight and b.weight are one tensor in the network, and differ"):
        import_weights(path, wanted(size=4, network="tied:Net"))
    sys.modules.pop("tied")


MISFITS = {
    "another head": (
        lambda w: w | {"head.weight": torch.ones(7, 4)}, r"head.weight is \(7, 4\).*expects \(5, 4\).*--new-head",
    ),
    "another width": (
        lambda w: w | {"stem.weight": torch.ones(8, 1, 4, 4)}, r"stem.weight is \(8, 1, 4, 4\), the network expects",
    ),
    "another name": (
        lambda w: {("root" + n[4:] if n.startswith("stem") else n): v for n, v in w.items()},
        r"no stem.weight \(4, 1, 4, 4\), which the network expects; nearest are .*root.weight \(4, 1, 4, 4\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_does_not_fit_is_one_sentence(misfit, mynet, tmp_path):
    change, told = MISFITS[misfit]
    torch.save(change(own_net().state_dict()), tmp_path / "w")
    with pytest.raises(MetaprobeError, match=told):
        import_weights(tmp_path / "w", wanted(network=mynet))


def test_a_new_head_is_drawn_when_asked_for(mynet, tmp_path):
    torch.save({n: v for n, v in own_net().state_dict().items() if not n.startswith("head")}, tmp_path / "w")
    with pytest.raises(MetaprobeError, match="--new-head draws one freshly"):
        import_weights(tmp_path / "w", wanted(network=mynet))
    found = import_weights(tmp_path / "w", wanted(network=mynet, new_head=True))
    assert dict(found.facts)["drawn freshly"] == "head.weight, head.bias"


def test_a_start_is_the_untrained_control_else_one_is_drawn(mynet, tmp_path):
    begun, trained = own_net(), shaken(own_net(), seed=5)
    torch.save(begun.state_dict(), tmp_path / "start")
    torch.save(trained.state_dict(), tmp_path / "w")
    given = import_weights(tmp_path / "w", wanted(network=mynet, start=tmp_path / "start"))
    drawn = import_weights(tmp_path / "w", wanted(network=mynet, seed=3))
    for found in (given, drawn):
        save_checkpoint(tmp_path / "c.safetensors", found.checkpoint)
        again = load_checkpoint(tmp_path / "c.safetensors")
        assert again.digest == found.checkpoint.digest
        params = again.untrained().params
        assert torch.equal(params["stem.weight"], begun.stem.weight) == (found is given)
    assert dict(drawn.facts)["before training"] == "drawn when imported, seed 3"
    assert import_weights(tmp_path / "w", wanted(network=mynet, seed=3)).checkpoint.digest == drawn.checkpoint.digest


def test_a_file_names_no_code_to_run(mynet, tmp_path):
    torch.save(own_net().state_dict(), tmp_path / "w")
    save_checkpoint(tmp_path / "c.safetensors", import_weights(tmp_path / "w", wanted(network=mynet)).checkpoint)
    USER_CODE.set(None)
    (tmp_path / "mynet.py").write_text("raise SystemExit('it ran')\n")
    sys.modules.pop("mynet", None)
    checkpoint = load_checkpoint(tmp_path / "c.safetensors")  # names and shapes are all there
    with pytest.raises(MetaprobeError, match="no file names code to run: add --network mynet:build"):
        checkpoint.network()


def test_layers_heads_and_norms_of_any_module(tmp_path):
    network = ResNet12(5, 1, widths=(4, 4, 4, 4))
    torch.save(network.state_dict(), tmp_path / "w")
    args = {"widths": [4, 4, 4, 4]}
    built = import_weights(tmp_path / "w", wanted(network="resnet12", args=args, adapts="layer*")).checkpoint
    assert built.adaptation.layers == ("layer1", "layer2", "layer3", "layer4") and built.config.algorithm == "imported"
    own = built.network()
    assert own.layer_names[-1] == "fc" and own.linear_head
    assert len(norm_parameters(own)) == 2 * sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    kept = import_weights(tmp_path / "w", wanted(network="resnet12", args=args, norm="running")).checkpoint
    images = torch.rand(4, 1, 28, 28)
    assert torch.allclose(kept.network()(images), network.eval()(images), atol=1e-6)
    assert torch.allclose(own(images), network.train()(images), atol=1e-6)
    alone = own(images, n_context=3)[3:]  # by the statistics of the first three, whatever comes after them
    more = own(torch.cat([images, torch.rand(5, 1, 28, 28)]), n_context=3)[3:4]
    assert torch.allclose(alone, more, atol=1e-6)


def test_what_is_no_network_is_told(mynet, tmp_path):
    torch.save(own_net().state_dict(), tmp_path / "w")
    for name, told in {
        "resnet9": "unknown network 'resnet9'",
        "torchvision:resnet19": "unknown network of torchvision 'resnet19'. Did you mean",
    }.items():
        with pytest.raises(MetaprobeError, match=told):
            import_weights(tmp_path / "w", wanted(network=name))
    for code, told in {
        "mynet:nothing": "unknown factory in mynet 'nothing'",
        "nomodule:build": "there is no module nomodule",
        "mynet:torch": "expected a function or class",
    }.items():
        USER_CODE.set(code)
        with pytest.raises(MetaprobeError, match=told):
            import_weights(tmp_path / "w", wanted(network=code))
    with pytest.raises(MetaprobeError, match="weights come from a file of yours"):
        import_weights(tmp_path / "w", wanted(network="torchvision:resnet18", args={"weights": "DEFAULT"}))


def test_a_checkpoint_is_no_weights(tmp_path):
    torch.save(L2LOmniglot().state_dict(), tmp_path / "w")
    save_checkpoint(tmp_path / "c.safetensors", import_weights(tmp_path / "w", wanted()).checkpoint)
    with pytest.raises(UnreadableInput, match="is a checkpoint of metaprobe already"):
        import_weights(tmp_path / "c.safetensors", wanted())


@pytest.mark.parametrize("algorithm", ["meta_lstm", "mmaml", "hsml", "imaml"])
def test_learners_that_are_more_than_weights_are_not_imported(algorithm):
    config = TrainConfig(algorithm=algorithm, data="glyphs")
    with pytest.raises(MetaprobeError, match=rf"--algorithm {algorithm} needs more than weights.*import them as maml"):
        adaptation_of(wanted(), config, ("conv1", "head"))
