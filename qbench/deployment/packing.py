"""Integer codes as a stream of bits: a layer of L levels takes ceil(log2 L) bits a code."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["bits_for", "pack", "packed_bytes", "unpack"]


def bits_for(levels: int) -> int:
    """Bits of a code in ``[0, levels)``, at least 1: ceil(log2 levels)."""
    return max(1, (levels - 1).bit_length())


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of ``count`` packed codes; the last byte is filled up with zeros."""
    return (count * bits + 7) // 8


def pack(codes: Tensor, bits: int) -> Tensor:
    """Write codes one after the other, the lowest bit first, in row-major order.

    Args:
        codes: Integers in ``[0, 2**bits)``, any shape.
        bits: Bits of a code, 1 to 16.

    Returns:
        uint8, ``[packed_bytes(codes.numel(), bits)]``, on the CPU.
    """
    numbers = codes.detach().cpu().contiguous().numpy().astype("<u2").reshape(-1, 1)
    stream = np.unpackbits(numbers.view(np.uint8), axis=1, count=bits, bitorder="little")
    return torch.from_numpy(np.packbits(stream, bitorder="little"))


def unpack(packed: Tensor, bits: int, shape: tuple[int, ...]) -> Tensor:
    """The codes that :func:`pack` wrote.

    Args:
        packed: uint8, ``[packed_bytes(count, bits)]`` for the ``count`` codes of ``shape``.
        bits: Bits of a code, 1 to 16.
        shape: The shape of the codes.

    Returns:
        int64, of ``shape``, on the CPU.
    """
    count = int(np.prod(shape))
    stream = np.unpackbits(packed.cpu().numpy(), count=count * bits, bitorder="little")
    halves = np.packbits(stream.reshape(count, bits), axis=1, bitorder="little")
    codes = np.zeros((count, 2), dtype=np.uint8)
    codes[:, : halves.shape[1]] = halves
    return torch.from_numpy(codes.view("<u2").astype(np.int64).reshape(shape))
