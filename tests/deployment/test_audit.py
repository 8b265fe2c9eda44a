"""The audit finds what a deployed network really keeps."""

import json

import pytest
import torch
from test_deployed_network import fresh, images, trained
from toy_levels import ChannelLevels, Ternary

from qbench.deployment.audit import audit, audit_report, computed, refusal
from qbench.deployment.freeze import freeze, save_deployed
from qbench.deployment.load import load_deployed
from qbench.models.layers import quantized_layers


class Five(ChannelLevels):
    """Says that it has 2 bits, and keeps five levels a channel."""

    levels = 5


class Seldom(Five):
    """Has five levels in its codebook, and uses four."""

    def codes(self, x):
        codes, codebook = super().codes(x)
        return codes.clamp(max=3), codebook


def stored(*arguments, **options):
    data = save_deployed(freeze(trained(*arguments, **options)))
    return data, load_deployed(data, fresh(*arguments, **options))


def by_name(rows, kind):
    return {row.name: row for row in rows if row.kind == kind}


def test_the_file_alone_tells_codes_levels_and_bytes(tmp_path):
    data, _ = stored(Ternary)
    path = tmp_path / "deployed.safetensors"
    path.write_bytes(data)
    rows = audit(path)
    assert rows == audit(data)
    layer = by_name(rows, "weight")["6"]
    assert (layer.elements, layer.bits, layer.levels) == (30, 2, 3)  # a 6 x 5 convolution of 1 x 1
    assert layer.codes_used == layer.values == 3
    assert layer.bytes == 8 + 3 * 4 + 4 * 8  # 30 codes of 2 bits, 3 levels, 4 sizes of int64
    kept = by_name(rows, "float")
    assert kept["0.weight"].elements == 6 * 2 * 9
    assert kept["0.weight"].bytes == 6 * 2 * 9 * 4
    assert kept["0.weight"].bits == 32
    assert not any(name.startswith("6.weight") for name in kept)
    assert refusal(rows, 2) == ""


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_network_of_k_bits_passes_in_the_file_and_in_use(bits):
    data, model = stored(ChannelLevels, bits, 9 - bits)
    rows = computed(model, audit(data), images())
    assert refusal(rows, bits, 9 - bits) == ""
    for row in by_name(rows, "weight").values():
        assert row.channel_axis == 0
        assert row.values <= row.levels == 2**bits
    assert set(by_name(rows, "input")) == {"3", "6", "8"}
    if bits > 1:
        assert refusal(rows, bits - 1)


def test_two_bits_that_keep_five_values_are_refused_with_a_reason():
    data, model = stored(Five, 2)
    expected = "takes 5 different values in a channel, 2 bits stand for 4, and so do 2 more"
    for rows in (audit(data), computed(model, audit(data))):
        reason = refusal(rows, 2)
        assert expected in reason
        assert reason.startswith("the weight of layer '")
        assert "\n" not in reason
    assert refusal(rows, 3) == ""


def test_a_level_too_many_is_refused_though_no_code_uses_it():
    data, _ = stored(Seldom, 2)
    rows = audit(data)
    assert {row.codes_used for row in by_name(rows, "weight").values()} == {4}
    assert "has a codebook of 5 levels in a channel" in refusal(rows, 2)


def test_what_a_layer_computes_with_counts_not_what_the_file_says():
    data, model = stored(Ternary)
    with torch.no_grad():
        quantized_layers(model)["6"].weight.view(-1)[:2] += torch.tensor([0.01, 0.02])
    rows = computed(model, audit(data))
    assert by_name(rows, "weight")["6"].values == 5  # and the three levels
    assert refusal(audit(data), 2) == ""
    assert refusal(rows, 2) == (
        "the weight of layer '6' takes 5 different values, 2 bits stand for 4"
    )


def test_inputs_of_too_many_levels_are_refused():
    data, model = stored(Ternary, 2, 4)
    rows = computed(model, audit(data), images())
    assert max(row.values for row in by_name(rows, "input").values()) <= 16
    assert refusal(rows, 2, 4) == ""
    assert refusal(rows, 2) == ""  # nothing is claimed of inputs
    assert refusal(rows, 2, 2).startswith("the input of layer '")


def test_bits_that_store_no_codes_are_refused():
    data, model = stored(None, 32, 3)
    assert refusal(audit(data), 32) == ""
    assert refusal(audit(data), 4) == "it claims 4-bit weights and stores none as codes"
    assert set(by_name(computed(model, audit(data), images()), "input")) == {"3", "6", "8"}


def test_inputs_that_stay_float_are_no_inputs_of_few_bits():
    data, model = stored(None, 32, 3)
    assert audit_report(data, model, images(), 32, 3)["refusal"] == ""
    for layer in quantized_layers(model).values():
        layer.activation_quantizer = None
    report = audit_report(data, model, images(), 32, 3)
    assert report["refusal"] == "it claims 3-bit inputs and quantizes none"


def test_the_report_is_json_and_adds_up():
    data, model = stored(Five, 2)
    report = json.loads(json.dumps(audit_report(data, model, images(), 2, 4)))
    assert "5 different values" in report["refusal"]
    assert report["coded_weights"] == 108 + 30 + 240
    assert report["coded_weights"] + report["float_numbers"] == sum(
        row["elements"] for row in report["tensors"] if row["kind"] != "input"
    )
    total = sum(part.numel() * part.element_size() for part in freeze(trained(Five, 2)).values())
    assert report["coded_bytes"] + report["float_bytes"] == total


def test_the_audit_changes_nothing():
    data, model = stored(Ternary)
    before = {name: part.clone() for name, part in model.state_dict().items()}
    model.train()
    computed(model, audit(data), images())
    assert model.training
    assert all(torch.equal(before[name], part) for name, part in model.state_dict().items())


def test_a_damaged_file_is_refused():
    with pytest.raises(ValueError, match="cannot be read"):
        audit(b"short")
    tensors = freeze(trained(Ternary))
    del tensors["6.weight.codes"]
    # the header of a network without these codes is still a header
    data = save_deployed(tensors)
    with pytest.raises(ValueError, match="layer '6' are missing"):
        audit(data)
