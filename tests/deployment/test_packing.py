"""Packed codes: their size, their layout, and that they come back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qbench.deployment.packing import bits_for, pack, packed_bytes, unpack


@pytest.mark.parametrize(
    ("levels", "bits"),
    [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (255, 8), (256, 8), (257, 9)],
)
def test_a_code_takes_the_logarithm_of_its_levels(levels, bits):
    assert bits_for(levels) == bits


@given(bits=st.integers(1, 9), data=st.data())
def test_codes_come_back(bits, data):
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=40))
    codes = torch.tensor(values)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.numel() == packed_bytes(len(values), bits) == -(-len(values) * bits // 8)
    assert torch.equal(unpack(packed, bits, (len(values),)), codes)


def test_the_layout_is_lowest_bit_first():
    assert pack(torch.tensor([1, 0, 0, 0, 0, 0, 0, 1, 1]), 1).tolist() == [0b10000001, 1]
    assert pack(torch.tensor([5, 2, 7]), 3).tolist() == [0b11_010_101, 0b1]  # 7's top bit is next


def test_codes_of_any_memory_format_are_packed_in_row_major_order():
    codes = torch.arange(2 * 3 * 2 * 2).view(2, 3, 2, 2) % 8
    other = codes.to(memory_format=torch.channels_last)
    assert not other.is_contiguous()
    assert torch.equal(pack(other, 3), pack(codes, 3))
    assert torch.equal(unpack(pack(other, 3), 3, (2, 3, 2, 2)), codes)
