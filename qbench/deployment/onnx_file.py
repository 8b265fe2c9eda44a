"""A deployed network as an ONNX file, and the only place that imports onnx and onnxruntime."""

import copy
import importlib
import io
import json
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from qbench.deployment.compact import CompactNetwork
from qbench.deployment.onnx_parts import coded_weight, stepped_input
from qbench.deployment.staircase import staircase
from qbench.errors import UsageError
from qbench.models.layers import quantized_layers, set_mode
from qbench.quantizers.contract import Quantizer

__all__ = ["require_onnx", "run_onnx", "to_onnx"]

OPSET = 17
"""The first with all operators that are needed, so that old runtimes read the file."""


def require_onnx() -> tuple[ModuleType, ModuleType]:
    """The modules onnx and onnxruntime.

    Raises:
        UsageError: One of them is not installed.
    """
    try:
        return importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the module '{error.name}' is not installed, and --to onnx needs it; "
            "run pip install 'qbench-harness[onnx]', or pip install onnx onnxruntime"
        ) from None


def to_onnx(model: nn.Module, network: CompactNetwork, images: Tensor) -> bytes:
    """Write a network with ONNX's own operators for quantized tensors.

    torch's older exporter, by tracing, is used: the newer one needs a third library. Weights are
    stored as integers of 8 bits: few runtimes read the smaller ones.

    Args:
        model: What ``restore`` made of ``network``.
        network: Its codes and levels.
        images: A few, ``[batch, channels, height, width]``, to see the inputs of layers with.

    Returns:
        A model with the input ``images`` and the output ``logits``, of any batch size.

    Raises:
        UsageError: onnx is not installed, or an operator cannot be written.
    """
    onnx, _ = require_onnx()
    twin = _with_parts(copy.deepcopy(model).eval(), network, images)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is not the newest exporter, and what it traces
        try:
            torch.onnx.export(
                twin, (images,), cast(Any, buffer), dynamo=False, opset_version=OPSET,
                input_names=["images"], output_names=["logits"],
                dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
                training=torch.onnx.TrainingMode.PRESERVE,  # or batch norms are folded on the way
                do_constant_folding=False,  # or codes become float weights
            )  # fmt: skip
        except (RuntimeError, ValueError, TypeError) as error:
            raise UsageError(
                f"torch cannot write this network as ONNX: {' '.join(str(error).split())[:300]}; "
                "export to safetensors, or take a model without this operator"
            ) from None
    proto = onnx.load_model_from_string(buffer.getvalue())
    about = {"layers": sorted(network.coded), "folded": network.folded}
    onnx.helper.set_model_props(proto, {"qbench": json.dumps(about, sort_keys=True)})
    onnx.checker.check_model(proto, full_check=True)
    data: bytes = proto.SerializeToString()
    return data


def run_onnx(data: bytes, images: Tensor, options: Mapping[str, str] | None = None) -> Tensor:
    """The logits that onnxruntime computes on the CPU.

    Args:
        data: An ONNX file.
        images: ``[batch, channels, height, width]``.
        options: Entries of the session's configuration.

    Raises:
        UsageError: onnxruntime is not installed.
    """
    _, runtime = require_onnx()
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    for key, value in (options or {}).items():
        settings.add_session_config_entry(key, value)
    session = runtime.InferenceSession(data, settings, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.contiguous().numpy()})
    return torch.from_numpy(logits)


@torch.no_grad()
def _with_parts(model: nn.Module, network: CompactNetwork, images: Tensor) -> nn.Module:
    layers = quantized_layers(model)
    seen: dict[str, Tensor] = {}
    set_mode(model, "deployed")
    with ExitStack() as stack:
        for name, layer in layers.items():
            hook = layer.register_forward_pre_hook(
                lambda _, inputs, name=name: seen.update({name: inputs[0].contiguous()})
            )
            stack.callback(hook.remove)
        model(images)
    for name, layer in layers.items():
        _add_bias_apart(layer)
        quantizer = layer.activation_quantizer
        if quantizer is not None:
            found = staircase(quantizer, seen[name])
            if found is not None:  # else the quantizer's own operators are written
                layer.activation_quantizer = cast(Quantizer, stepped_input(found, seen[name].ndim))
        if name in network.coded:
            codes, levels = network.coded[name]
            # A product of float tokens with a quantized matrix rounds the tokens in onnxruntime.
            tokens = quantizer is None and isinstance(layer, nn.Linear) and seen[name].ndim > 2
            part = coded_weight(codes, levels.codebook(), fused=not tokens)
            layer.weight_quantizer = cast(Quantizer, part)
    return model


def _add_bias_apart(layer: nn.Module) -> None:
    """Add a layer's bias after the layer, which gets a bias of zeros.

    Of a quantized layer onnxruntime would round the bias to whole multiples of input scale x weight
    scale, which moves codes. A linear layer without any bias would be a MatMul, whose float input
    it rounds to 8 bits where the weight is quantized.
    """
    bias = getattr(layer, "bias", None)
    if isinstance(bias, Tensor):
        side = (1, -1, 1, 1) if isinstance(layer, nn.Conv2d) else (-1,)
        layer.register_buffer("added_bias", bias.detach().reshape(side).clone())
        layer.register_forward_hook(lambda part, _, output: output + part.added_bias)
    if isinstance(layer, nn.Conv2d):
        layer.register_parameter("bias", None)
    elif isinstance(layer, nn.Linear):
        layer.register_parameter("bias", nn.Parameter(torch.zeros(layer.out_features)))
