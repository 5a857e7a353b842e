"""Bit arithmetic on non-negative Python integers of a known width. The only home of masks."""

U8 = (1 << 8) - 1
U16 = (1 << 16) - 1
U32 = (1 << 32) - 1
U64 = (1 << 64) - 1
PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT


def mask(width: int) -> int:
    """All ones in `width` bits."""
    return (1 << width) - 1


def trunc(value: int, width: int) -> int:
    """The low `width` bits of any integer, as a non-negative one."""
    return value & mask(width)


def signed(value: int, width: int) -> int:
    """The two's complement reading of a `width`-bit value."""
    sign = 1 << (width - 1)
    return ((value & mask(width)) ^ sign) - sign


def sext(value: int, from_width: int, to_width: int) -> int:
    """Sign-extend a value from one width to a larger one, as a non-negative integer."""
    return signed(value, from_width) & mask(to_width)


def field(value: int, high: int, low: int) -> int:
    """Bits high..low (inclusive) of value, as in the manuals' value[high:low]."""
    return (value >> low) & mask(high - low + 1)


def align_down(value: int, alignment: int) -> int:
    """The largest multiple of `alignment` (a power of two) that is not above value."""
    return value & ~(alignment - 1)


def align_up(value: int, alignment: int) -> int:
    """The smallest multiple of `alignment` (a power of two) that is not below value."""
    return -(-value // alignment) * alignment


def is_power_of_two(value: int) -> bool:
    """True for 1, 2, 4, ..."""
    return value > 0 and value & (value - 1) == 0
