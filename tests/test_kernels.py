"""The two operations and both their derivatives, against plain compositions that autograd differentiates itself."""

import contextlib
import functools

import pytest
import torch
import torch.nn.functional as F

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks.kernels import convolve, norm_relu, traceable
from metaprobe.trainers.networks.kernels.compiling import compiled

LAYOUTS = (torch.contiguous_format, torch.channels_last)


DEVICES = [
    "cpu",
    "traced",  # a CPU, with torch's own operations, as a compiler or a GPU has them
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")),
]


@pytest.fixture(autouse=True)
def _as_traced(request):
    traced = "device" in request.fixturenames and request.getfixturevalue("device") == "traced"
    with traceable() if traced else contextlib.nullcontext():
        yield


def drawn(seed, *shapes, layout=torch.contiguous_format, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    device = "cpu" if device == "traced" else device
    return [(x.to(memory_format=layout) if x.ndim == 4 else x).to(device).requires_grad_() for x in made]


def plain_norm_relu(x, weight, bias, n_context, pools, epsilon=1e-5, slope=0.0):
    context = x[:n_context]
    mean = context.mean((0, 2, 3), keepdim=True)
    variance = ((context - mean) ** 2).mean((0, 2, 3), keepdim=True)
    shape = (1, -1, 1, 1)
    relu = functools.partial(F.leaky_relu, negative_slope=slope) if slope else torch.relu
    out = relu((x - mean) / torch.sqrt(variance + epsilon) * weight.view(shape) + bias.view(shape))
    return F.max_pool2d(out, 2) if pools else out


def first_and_second(function, inputs, twice_by):
    """Outputs, first derivatives and the derivatives of a function of those."""
    out = function(*inputs)
    first = torch.autograd.grad((out * torch.cos(out)).sum(), inputs, create_graph=True)
    mixed = sum((torch.sin(first[place] / 10) * first[place]).sum() for place in twice_by)
    return [out, *first, *torch.autograd.grad(mixed, inputs)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=["channels-first", "channels-last"])
@pytest.mark.parametrize("pools", [False, True])
@pytest.mark.parametrize("n_context", [None, 5, 2])
@pytest.mark.parametrize("twice_by", [(0,), (1,), (2,), (0, 1, 2)])
def test_norm_relu_and_its_derivatives(device, layout, pools, n_context, twice_by):
    inputs = drawn(0, (5, 4, 6, 6), (4,), (4,), layout=layout, device=device)
    with torch.no_grad():
        inputs[1][1] = -0.7  # a falling channel, whose windows' maxima lie at x's minima
        inputs[2][3] = -9.0  # a dead one
    ours = first_and_second(lambda *args: norm_relu(*args, n_context, pools), inputs, twice_by)
    plain = first_and_second(lambda *args: plain_norm_relu(*args, n_context, pools), inputs, twice_by)
    for mine, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-10 * max(1.0, float(expected.detach().abs().max())))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pools", [False, True])
@pytest.mark.parametrize("n_context", [None, 2])
@pytest.mark.parametrize("twice_by", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_leaky_relu_and_its_derivatives(device, twice_by, n_context, pools):
    inputs = drawn(0, (5, 4, 6, 6), (4,), (4,), device=device)
    with torch.no_grad():
        inputs[1][1] = -0.7
        inputs[2][3] = -9.0  # dead it would be, were it not for the slope
    ours = first_and_second(lambda *args: norm_relu(*args, n_context, pools, 1e-5, 0.01), inputs, twice_by)
    plain = first_and_second(lambda *args: plain_norm_relu(*args, n_context, pools, 1e-5, 0.01), inputs, twice_by)
    for mine, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-10 * max(1.0, float(expected.detach().abs().max())))
    assert float(ours[3][3].detach().abs()) > 1e-3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_context", [None, 3])
@pytest.mark.parametrize("size", [(5, 7), (4, 5), (7, 2)])
def test_rows_and_columns_that_no_window_covers(size, n_context, device):
    inputs = drawn(5, (5, 3, *size), (3,), (3,), device=device)
    ours = first_and_second(lambda *args: norm_relu(*args, n_context, True), inputs, (0, 1, 2))
    plain = first_and_second(lambda *args: plain_norm_relu(*args, n_context, True), inputs, (0, 1, 2))
    for mine, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-10 * max(1.0, float(expected.detach().abs().max())))


@pytest.mark.parametrize("pools", [False, True])
def test_single_precision_is_not_less_exact_than_torchs_far_from_zero(pools):
    exact = drawn(6, (40, 6, 20, 20), (6,), (6,))
    with torch.no_grad():
        exact[0].add_(100.0)
    single = [x.detach().float().requires_grad_() for x in exact]
    exact = [x.detach().double().requires_grad_() for x in single]
    plain = first_and_second(lambda *args: plain_norm_relu(*args, None, pools), exact, (0, 1, 2))
    ours = first_and_second(lambda *args: norm_relu(*args, None, pools), single, (0, 1, 2))
    with traceable():
        torchs = first_and_second(lambda *args: norm_relu(*args, None, pools), single, (0, 1, 2))
    for mine, theirs, expected in zip(ours, torchs, plain, strict=True):
        errors = [float((found - expected).detach().norm() / expected.detach().norm()) for found in (mine, theirs)]
        assert errors[0] < max(1.5 * errors[1], 1e-6)


@pytest.mark.parametrize("device", ["cpu", "traced"])
@pytest.mark.parametrize("pools", [False, True])
def test_of_equal_values_the_first_is_the_maximum_and_no_number_stays_none(pools, device):
    x, weight, shift = drawn(7, (3, 2, 4, 4), (2,), (2,), device=device)
    with torch.no_grad():
        x[:, 0] = 1.5
        weight.fill_(1.0)
        shift.fill_(0.3)
    ours = norm_relu(x, weight, shift, None, pools)
    plain = plain_norm_relu(x, weight, shift, None, pools)
    for mine, expected in zip(*(torch.autograd.grad(out.sum(), [x, shift]) for out in (ours, plain)), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-10)
    with torch.no_grad():
        x[2, 1, 1, 1] = float("nan")
    assert torch.equal(
        norm_relu(x, weight, shift, 2, pools).isnan(), plain_norm_relu(x, weight, shift, 2, pools).isnan()
    )


def test_loops_that_no_folder_can_keep_are_told_and_compiled_all_the_same(monkeypatch):
    def kept_nowhere(cache=False, **_):
        if cache:
            raise RuntimeError("cannot cache function 'twice': no locator available")
        return lambda function: function

    monkeypatch.setattr("numba.njit", kept_nowhere)
    with pytest.warns(UserWarning, match="no locator available.*NUMBA_CACHE_DIR"):
        assert compiled(len) is len


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pools", [False, True])
@pytest.mark.parametrize("n_context", [None, 2])
@pytest.mark.parametrize("fixed", [(1,), (1, 2)], ids=["shift alone", "neither"])
def test_norm_relu_with_another_epsilon_and_fixed_scale_or_shift(device, fixed, n_context, pools):
    inputs = drawn(0, (5, 4, 6, 6), (4,), (4,), device=device)
    with torch.no_grad():
        inputs[1].fill_(1.0)
        inputs[2].mul_(0.0 if 2 in fixed else 1.0)
    held = {place: inputs[place].detach() for place in fixed}
    free = [x for place, x in enumerate(inputs) if place not in held]

    def through(norm):
        def run(*given):
            rest = iter(given)
            args = [held[place] if place in held else next(rest) for place in range(3)]
            return norm(*args, n_context, pools, 0.3)

        return first_and_second(run, free, tuple(range(len(free))))

    for mine, expected in zip(through(norm_relu), through(plain_norm_relu), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-10 * max(1.0, float(expected.detach().abs().max())))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS, ids=["channels-first", "channels-last"])
def test_convolve_and_its_derivatives(device, groups, stride, layout):
    inputs = drawn(1, (3, 2 * groups, 5, 5), (3 * groups, 2, 3, 3), layout=layout, device=device)

    def ours(x, weight):
        return convolve(x, weight, stride, groups)

    assert torch.autograd.gradcheck(ours, inputs)
    assert torch.autograd.gradgradcheck(ours, inputs)
    torch.testing.assert_close(ours(*inputs), F.conv2d(*inputs, stride=stride, padding=1, groups=groups))


def test_images_that_need_no_gradient_get_none():
    x, weight = drawn(2, (3, 1, 8, 8), (4, 1, 3, 3))
    x = x.detach()
    (gradient,) = torch.autograd.grad(convolve(x, weight, 2, 1).square().sum(), weight, create_graph=True)
    assert torch.autograd.grad(gradient.square().sum(), weight)[0].abs().sum() > 0
    assert x.grad is None


def test_feature_maps_keep_their_channels_last():
    x, weight, scale, shift = drawn(3, (3, 2, 8, 8), (4, 2, 3, 3), (4,), (4,))
    out = norm_relu(convolve(x, weight, 1, 1), scale, shift, None, pools=True)
    gradients = torch.autograd.grad(out.sin().sum(), [x, weight])
    for maps in (out, *gradients):
        assert maps.is_contiguous(memory_format=torch.channels_last)


def test_a_third_derivative_is_right_or_refused():
    x, weight, scale, shift = drawn(4, (2, 1, 4, 4), (2, 1, 3, 3), (2,), (2,))

    def third(function):
        (first,) = torch.autograd.grad(function(x).pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(second.pow(3).sum(), x)[0]

    expected = third(lambda x: F.conv2d(x, weight, padding=1))
    torch.testing.assert_close(third(lambda x: convolve(x, weight, 1, 1)), expected)
    with pytest.raises(MetaprobeError, match="not three times"):
        third(lambda x: norm_relu(convolve(x, weight, 1, 1), scale, shift))
