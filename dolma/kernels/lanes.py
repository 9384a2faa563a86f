"""Many bytes of an Arrow buffer at once, as LLVM's vectors: what numba has no words for. Nothing here looks at borders: the caller does.

Compiled for AVX-512 the classes of 64 bytes take ten instructions, for other processors the same in more. Byte order is little-endian, as on all processors
that numba compiles for.
"""

from typing import Any

from llvmlite import ir
from numba import extending, types

intrinsic: Any = extending.intrinsic  # of two arguments for the typing and the code, called with those of the kernel
WIDE = 64  # bytes of a block
_BLOCK, _MASK, _WORD = ir.VectorType(ir.IntType(8), WIDE), ir.IntType(64), ir.IntType(64)


def _bytes(kind: Any) -> bool:
    return isinstance(kind, types.Array) and kind.dtype == types.uint8 and kind.ndim == 1 and kind.layout == "C"


def _at(context: Any, builder: Any, signature: Any, args: Any, kind: ir.Type) -> Any:
    """The value of type `kind` at a byte of an array."""
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    place = builder.gep(data, [args[1]])
    return builder.load(builder.bitcast(place, kind.as_pointer()), align=1)


def _all(value: int) -> ir.Constant:
    return ir.Constant(_BLOCK, [value] * WIDE)


@intrinsic
def load(typing: Any, data: Any, i: Any) -> Any:
    """The uint64 of the eight bytes `data[i:i + 8]`, the first the lowest."""
    if not _bytes(data):
        return None

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _at(context, builder, signature, args, _WORD)

    return types.uint64(data, types.int64), make


@intrinsic
def letters(typing: Any, data: Any, i: Any) -> Any:
    """Which of `data[i:i + 64]` are ASCII letters or digits: bit k of a uint64 for byte i + k."""
    if not _bytes(data):
        return None

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = _at(context, builder, signature, args, _BLOCK)
        small = builder.or_(block, _all(0x20))  # of letters; no other byte becomes one
        letter = builder.icmp_unsigned("<", builder.sub(small, _all(ord("a"))), _all(26))
        digit = builder.icmp_unsigned("<", builder.sub(block, _all(ord("0"))), _all(10))
        return builder.bitcast(builder.or_(letter, digit), _MASK)

    return types.uint64(data, types.int64), make


@intrinsic
def high(typing: Any, data: Any, i: Any) -> Any:
    """Which of `data[i:i + 64]` are no ASCII: bit k of a uint64 for byte i + k."""
    if not _bytes(data):
        return None

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = _at(context, builder, signature, args, _BLOCK)
        return builder.bitcast(builder.icmp_signed("<", block, _all(0)), _MASK)

    return types.uint64(data, types.int64), make


@intrinsic
def lowest(typing: Any, bits: Any) -> Any:
    """The place of the lowest 1 of a uint64, int64; 64 where there is none."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), make


@intrinsic
def highest(typing: Any, bits: Any) -> Any:
    """The zeros above the highest 1 of a uint64, int64; 64 where there is none."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), make
