"""The ONNX file, run by onnxruntime, computes what the deployed network does."""

import json
import sys
from collections import Counter

import onnx
import pytest
import torch
from small_networks import deployed, every_case, fresh, images, named
from torch import Tensor, nn

from qbench.deployment.compact import compact, restore
from qbench.deployment.fold import find_folds
from qbench.deployment.freeze import freeze
from qbench.deployment.load import load_deployed
from qbench.deployment.onnx_file import run_onnx, to_onnx
from qbench.deployment.onnx_parts import coded_weight, stepped_input
from qbench.deployment.staircase import Staircase, staircase
from qbench.errors import UsageError
from qbench.models.build import build_model
from qbench.models.convert import initialize, quantize
from qbench.quantizers.contract import Quantizer, decode
from qbench.quantizers.ste import STE
from qbench.study.schema import Component


def operators(data: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_model_from_string(data).graph.node)


def far(found: Tensor, expected: Tensor) -> int:
    """How many images have a logit further off than 1e-4 of the largest logit."""
    return int(((found - expected).abs().amax(1) > 1e-4 * expected.abs().max()).sum())


def written(case: tuple) -> tuple[bytes, Tensor]:
    tensors, model = deployed(case)
    with torch.no_grad():
        return to_onnx(model, compact(tensors, {}), images(4)), model(images())


# The two runtimes round sums otherwise by some 1e-7 of the range. An input of 8 bits stands so
# close to one of its 255 edges in about 3e-5 of all cases, and 32 images have 22,500 inputs: one
# code may move, rarely two. A moved code is one image.
MOVED = 2


@pytest.mark.parametrize("case", named(every_case()))
def test_every_method_and_width_gives_the_same_classes_and_logits(case: tuple) -> None:
    data, expected = written(case)
    found = run_onnx(data, images())
    assert torch.equal(found.argmax(1), expected.argmax(1))
    assert far(found, expected) <= (MOVED if case[3] > 3 else 1)
    assert far(found, expected.roll(1, 0)) > 16, "the images are alike, nothing is tested"


@pytest.mark.parametrize(
    "case", [("lsq", "lsq", 4, 4), ("ste", "ste", 1, 1), ("apot", "ste", 4, 2)]
)
def test_folded_batch_norms_are_gone_and_the_classes_stay(case: tuple) -> None:
    tensors, model = deployed(case)
    network = compact(tensors, find_folds(model, images(2)))
    with torch.no_grad():
        expected = model(images())
    data = to_onnx(restore(network, fresh(case)).eval(), network, images(4))
    assert "BatchNormalization" not in operators(data)
    assert operators(written(case)[0])["BatchNormalization"] == 3
    assert far(run_onnx(data, images()), expected) <= MOVED


@pytest.mark.parametrize(
    ("case", "gathers", "rounded"),
    [
        (("lsq", "lsq", 4, 4), 0, 2),  # even everywhere: QuantizeLinear and DequantizeLinear
        (("ste", "bireal", 1, 1), 2, 0),  # signs have an edge at 0: one comparison, even levels
        (("apot", "lsq", 4, 4), 2, 2),  # levels of weights by Gather
        (("lsq", "apot", 4, 4), 2 * (4 + 1), 0),  # four halvings and the level of inputs
    ],
    ids=str,
)
def test_even_levels_are_quantize_linear_and_others_gather(
    case: tuple, gathers: int, rounded: int
) -> None:
    found = operators(written(case)[0])
    assert found["Gather"] == gathers
    assert found["QuantizeLinear"] == rounded


def test_what_is_stored_are_integers_of_a_byte() -> None:
    data, _ = written(("lsq", "lsq", 4, 4))
    proto = onnx.load_model_from_string(data)
    kinds = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    shapes = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    assert kinds["3.weight_quantizer.integers"] == onnx.TensorProto.INT8
    assert shapes["3.weight_quantizer.integers"] == [12, 8, 3, 3]
    assert "3.weight" not in kinds  # no float copy beside it
    props = {prop.key: prop.value for prop in proto.metadata_props}
    assert json.loads(props["qbench"]) == {"folded": {}, "layers": ["3", "7"]}


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("channels", [1, 5])
def test_a_weight_of_any_levels_comes_back(bits: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    codes = torch.randint(2**bits, (5, 40), generator=generator)
    index, scale = torch.arange(2.0**bits), torch.rand(channels, 1, generator=generator) + 0.1
    books = [
        scale * (2 * index - (2**bits - 1)), scale * (index - 2 ** (bits - 1)), scale * index,
        scale * index - 0.37, -scale * index, scale * index**2 - 1, index * 0 + scale,
    ]  # fmt: skip
    for book in books:
        codebook = book if channels > 1 else book[0]
        found = coded_weight(codes, codebook).deployed(None)
        # The grid is read off within 2^-20 of the largest level.
        assert (found - decode(codes, codebook)).abs().max() <= 2**-19 * codebook.abs().max()


def test_large_integers_are_unsigned_because_of_kernels_that_saturate() -> None:
    codes = torch.arange(256).view(1, -1)
    small = coded_weight(codes[:, :127], torch.arange(127) - 63.0)
    assert small.integers.dtype == torch.int8
    large = coded_weight(codes, torch.arange(256) - 128.0)
    assert large.integers.dtype == torch.uint8
    assert int(large.zero_point) == 128


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_halving_finds_the_code_exactly(bits: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    edges = torch.randn(3, 2**bits - 1, generator=generator).sort(1).values
    found = Staircase(edges, torch.randn(3, 2**bits, generator=generator))
    x = torch.randn(7, 3, 6, 6, generator=generator)
    x[0, :, 0, 0] = edges[:, 0]  # on an edge
    part = stepped_input(found, 4)
    assert torch.equal(part.deployed(x), decode(found.codes(x), found.codebook, 1))


@pytest.mark.parametrize(
    ("edges", "levels", "rounded"),
    [
        ([0.5, 1.5, 2.5], [0.0, 1.0, 2.0, 3.0], True),
        ([0.25, 0.75, 1.25], [0.0, 1.0, 2.0, 3.0], True),  # another step before than after
        ([-1.5, -0.5, 0.5], [-2.0, -1.0, 0.0, 1.0], True),
        ([0.3], [0.0, 1.0], True),
        ([-0.3], [-1.0, 0.0], True),
        ([0.0], [-1.0, 1.0], False),  # 0 is an edge
        ([-1.0, 0.0, 1.0], [-3.0, -1.0, 1.0, 3.0], False),
        ([0.5, 1.4, 2.5], [0.0, 1.0, 2.0, 3.0], False),  # uneven edges
        ([0.5, 1.5, 2.5], [0.5, 1.5, 2.5, 3.5], False),  # 0 is no level
        ([0.5, 1.5, 2.5], [0.0, 1.0, 2.0, 4.0], False),
        ([0.5, 1.5, torch.inf], [0.0, 1.0, 2.0, 3.0], False),
    ],
)  # fmt: skip
def test_inputs_are_rounded_where_edges_and_levels_are_even(
    edges: list[float], levels: list[float], rounded: bool
) -> None:
    found = Staircase(torch.tensor([edges]), torch.tensor(levels))
    part = stepped_input(found, 2)
    assert hasattr(part, "edge_step") == rounded
    x = torch.linspace(-5, 5, 2000).view(-1, 1)  # stands on no edge but 0
    assert torch.equal(part.deployed(x), decode(found.codes(x), found.codebook, 1))
    assert torch.equal(
        part.deployed(torch.zeros(1, 1)), found.codebook[found.codes(torch.zeros(1, 1))]
    )


class Whole(STE):
    """Standardises its input before it rounds."""

    def codes(self, x):
        return super().codes(x / x.flatten(1).std(1).view(-1, 1, 1, 1))


def test_a_method_that_looks_at_the_whole_input_is_written_as_it_is() -> None:
    def untrained() -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.Flatten(),
                              nn.Linear(80, 4))  # fmt: skip
        quantize(model, weights=lambda: STE(bit_width=2, target="weight"),
                 activations=lambda: Whole(bit_width=2, target="activation"),
                 keep_float=("first", "last"))  # fmt: skip
        return model

    model = untrained()
    initialize(model, images())
    tensors = freeze(model)
    loaded = load_deployed(tensors, untrained()).eval()
    assert staircase(loaded[2].activation_quantizer, torch.randn(4, 6, 6, 6).relu()) is None
    with torch.no_grad():
        expected = loaded(images())
    found = run_onnx(to_onnx(loaded, compact(tensors, {}), images(4)), images())
    assert far(found, expected) <= 1


def through_onnx(name: str, size: int, activation_bits: int) -> tuple[Tensor, Tensor]:
    """Logits of a network with 2-bit weights, deployed and by onnxruntime."""

    def untrained() -> nn.Module:
        torch.manual_seed(0)
        model = build_model(Component(name=name), channels=3, classes=7, size=size)
        few_bits = activation_bits < 32
        quantize(
            model,
            weights=lambda: STE(bit_width=2, target="weight"),
            activations=(lambda: STE(bit_width=activation_bits, target="activation"))
            if few_bits else None,
            keep_float=("first", "last", "shortcut", *(["*.attn.*"] if "swin" in name else [])),
        )  # fmt: skip
        return model

    model, few = (
        untrained(),
        torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0)),
    )
    initialize(model, few)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # statistics of one forward are whole
    with torch.no_grad():
        model.train()(few)
        tensors = freeze(model)
        loaded = load_deployed(tensors, untrained()).eval()
        expected = loaded(few)
    return expected, run_onnx(to_onnx(loaded, compact(tensors, {}), few[:2]), few)


@pytest.mark.parametrize("name", ["mlp", "resnet8", "vgg_small"])
def test_the_networks_of_qbench_are_written(name: str) -> None:
    expected, found = through_onnx(name, 8, 4)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    assert far(found, expected) <= MOVED


# Inputs stay float: in so many layers some code moves, and an untrained network makes much of it.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121",
     "squeezenet1_0", "shufflenet_v2_x0_5", "regnet_y_400mf", "googlenet", "convnext_tiny",
     "vit_b_16", "swin_t"],
)  # fmt: skip
def test_the_networks_of_torchvision_are_written(name: str) -> None:
    expected, found = through_onnx(f"torchvision/{name}", 224 if name == "vit_b_16" else 64, 32)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    assert far(found, expected) == 0


def of_floats(shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64, bias=False), nn.ReLU(), nn.Linear(64, 64),
        nn.Flatten(), nn.Linear(64 if len(shape) == 2 else 3 * 64, 5),
    )  # fmt: skip
    quantize(model, weights=lambda: STE(bit_width=4, target="weight"), activations=None,
             keep_float=("first", "last"))  # fmt: skip
    return model


def test_runtimes_round_no_input_that_the_network_does_not() -> None:
    """Linear layers of float inputs, of rows and of tokens, with a bias and without."""
    for shape in ((6, 64), (6, 3, 64)):
        model, x = of_floats(shape), torch.randn(shape, generator=torch.Generator().manual_seed(0))
        tensors = freeze(model)
        loaded = load_deployed(tensors, of_floats(shape)).eval()
        with torch.no_grad():
            expected = loaded(x)
        found = run_onnx(to_onnx(loaded, compact(tensors, {}), x[:2]), x)
        assert far(found, expected) == 0


class Odd(nn.Module):
    """Uses an operator that ONNX has no word for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x[:, 0]).real


def test_an_operator_that_cannot_be_written_is_one_sentence() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), Odd()).eval()
    with pytest.raises(UsageError, match="torch cannot write this network as ONNX") as caught:
        to_onnx(model, compact(freeze(model), {}), images(2))
    assert "\n" not in str(caught.value)


def test_what_to_install_is_said_where_onnx_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'qbench-harness\[onnx\]'"):
        run_onnx(b"", images(1))


def test_a_quantizer_without_state_is_enough() -> None:
    """The parts stand for quantizers only while a network is written."""
    tensors, model = deployed(("lsq", "lsq", 4, 4))
    to_onnx(model, compact(tensors, {}), images(2))
    assert isinstance(model[3].activation_quantizer, Quantizer)
    assert model[3].weight_quantizer is None
