"""Guest RAM and ROM: a memfd, mapped shared and sparse.

A memfd can be handed to another process, forked copy-on-write and punched for ballooning; only
touched pages cost host memory. Engines reach it by `host_address` (HVA), Python code by `view`.
Owned by the AddressSpace, which also decides where it lies.
"""

import ctypes
import mmap
import os

from lamina.base.bits import PAGE_SIZE
from lamina.base.errors import ConfigError, HostError
from lamina.base.units import format_size

MADV_REMOVE = 9  # Linux: punch a hole into the file behind the mapping
MUCH = 1 << 20  # bytes that are better written to the file than to the mapping


class RamRegion:
    """A run of guest-physical memory; `readonly` binds the guest and its devices, not the host."""

    def __init__(self, base: int, size: int, name: str, readonly: bool = False) -> None:
        """Map `size` bytes (whole pages) of zeroes for the GPAs from `base` on."""
        if base % PAGE_SIZE or size <= 0 or size % PAGE_SIZE:
            raise ConfigError(
                f"{name}: base {base:#x} and size {size:#x} must be whole 4 KiB pages"
            )
        self.name = name
        self.base = base
        self.size = size
        self.end = base + size
        self.readonly = readonly
        self.fd = self._create(name, size)
        try:
            flags = mmap.MAP_SHARED | getattr(mmap, "MAP_NORESERVE", 0)
            self._map = mmap.mmap(self.fd, size, flags=flags)
        except (OSError, OverflowError, ValueError) as error:
            os.close(self.fd)
            raise HostError(f"{name}: cannot map {format_size(size)}: {error}") from None
        self.view = memoryview(self._map).cast("B")
        anchor = ctypes.c_char.from_buffer(self._map)
        self.host_address = ctypes.addressof(anchor)
        self._anchor: ctypes.c_char | None = anchor

    @staticmethod
    def _create(name: str, size: int) -> int:
        try:
            fd = os.memfd_create(f"lamina-{name}", os.MFD_CLOEXEC)
        except (OSError, AttributeError) as error:
            raise HostError(f"{name}: the host has no memfd for guest memory: {error}") from None
        try:
            os.ftruncate(fd, size)
        except (OSError, OverflowError) as error:
            os.close(fd)
            raise HostError(f"{name}: cannot reserve {format_size(size)}: {error}") from None
        return fd

    def contains(self, gpa: int, length: int) -> bool:
        """True if all of gpa .. gpa+length-1 lies in this region."""
        return self.base <= gpa and gpa + length <= self.end

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes that lie inside. A kernel or an initrd goes to the file: the host need not
        map each page, and zero it, before it is overwritten, which takes half of the time."""
        if len(data) < MUCH:
            self.view[offset : offset + len(data)] = data
            return
        rest = memoryview(data)
        while rest:
            try:
                written = os.pwrite(self.fd, rest, offset)
            except OSError as error:
                raise HostError(f"{self.name}: cannot be written: {error.strerror}") from None
            rest, offset = rest[written:], offset + written

    def clear(self) -> None:
        """All bytes zero again, and the host's memory given back."""
        self._map.madvise(MADV_REMOVE)

    def close(self) -> None:
        """Give the memory back. No vCPU may run any more: `host_address` is void afterwards."""
        if self._anchor is None:
            return
        self._anchor = None
        os.close(self.fd)
        try:
            self.view.release()
            self._map.close()
        except BufferError:
            # Somebody still holds a slice of `view`; the mapping goes with the last of them.
            pass
