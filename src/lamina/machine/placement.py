"""Where in RAM a boot's parts go: firmware, kernel, initrd and device tree.

Firmware at the start of RAM, the kernel at its text offset (2 MiB aligned) and behind the firmware,
the device tree at the end of low RAM, the initrd right below it; ELF files go where they say. All
of it is checked against RAM and against each other before anything is written.
"""

from dataclasses import dataclass, field

from lamina.base.bits import align_down, align_up
from lamina.base.errors import ConfigError, ImageError
from lamina.base.units import MIB, format_size
from lamina.bus.space import AddressSpace
from lamina.machine.loaders import ImageKind, LoadedImage

FIRMWARE_ROOM = 2 * MIB  # OpenSBI's stacks and heap lie behind its image
KERNEL_ALIGN = 2 * MIB
DTB_ALIGN = 2 * MIB  # so that a kernel can map it with one large page
INITRD_ALIGN = 4096
LOW_END = 0xC000_0000  # device trees stay below, for firmware that thinks in 32 bits


@dataclass
class Placement:
    """The decision. `start` is where the first hart begins, `kernel_entry` what firmware starts."""

    segments: list[tuple[int, bytes]] = field(default_factory=list)
    start: int = 0
    kernel_entry: int = 0
    dtb: int = 0
    initrd: tuple[int, int] | None = None

    def write(self, space: AddressSpace) -> None:
        """Store all parts but the device tree. RAM is expected to be zero where bss goes."""
        for gpa, content in self.segments:
            space.write(gpa, content)


def place(
    ram: tuple[int, int],
    firmware: LoadedImage | None,
    kernel: LoadedImage | None,
    initrd: bytes | None,
    dtb_size: int,
) -> Placement:
    """Decide for RAM of `ram` = (base, size). Without firmware the harts start in the kernel.

    ImageError or ConfigError, with the addresses, if something overlaps or does not fit.
    """
    return _Placer(*ram).run(firmware, kernel, initrd, dtb_size)


class _Placer:
    """Keeps what is taken, as (start, end, name)."""

    def __init__(self, base: int, size: int) -> None:
        self._base = base
        self._end = base + size
        self._taken: list[tuple[int, int, str]] = []
        self._result = Placement()

    def run(
        self,
        firmware: LoadedImage | None,
        kernel: LoadedImage | None,
        initrd: bytes | None,
        dtb_size: int,
    ) -> Placement:
        if firmware is None and kernel is None:
            raise ConfigError("nothing to boot: neither a firmware nor a kernel")
        result = self._result
        free = self._base
        if firmware is not None:
            result.start = self._image(firmware, self._base, FIRMWARE_ROOM)
            free = max(end for _, end, _ in self._taken)
        if kernel is not None:
            result.kernel_entry = self._image(kernel, self._kernel_base(kernel, free), 0)
            if firmware is None:
                result.start = result.kernel_entry
        top = min(self._end, LOW_END) if self._base < LOW_END else self._end
        result.dtb = max(align_down(top - dtb_size, DTB_ALIGN), 0)
        self._take(result.dtb, dtb_size, "device tree")
        if initrd:
            start = self._initrd_start(len(initrd), result.dtb)
            self._take(start, len(initrd), "initrd")
            result.initrd = (start, start + len(initrd))
            result.segments.append((start, initrd))
        return result

    def _kernel_base(self, kernel: LoadedImage, free: int) -> int:
        """A raw program alone starts where RAM does; all else on the next 2 MiB from its offset."""
        return align_up(max(free, self._base + kernel.text_offset), KERNEL_ALIGN)

    def _initrd_start(self, length: int, dtb: int) -> int:
        """Below the device tree, or, if there is no room, at the very end of RAM."""
        below = align_down(dtb - length, INITRD_ALIGN)
        used = max((end for _, end, name in self._taken if name != "device tree"), default=0)
        if below >= used or self._end - dtb < length:
            return below
        return align_down(self._end - length, INITRD_ALIGN)

    def _image(self, image: LoadedImage, base: int, room: int) -> int:
        """Take the room of an image; returns its entry point."""
        lowest = min(segment.gpa or 0 for segment in image.segments)
        if image.kind is not ImageKind.ELF:
            shift = base
        else:
            shift = base - lowest if image.movable and lowest < self._base else 0
        for segment in image.segments:
            start = (segment.gpa or 0) + shift
            size = segment.size
            if image.kind is not ImageKind.ELF:
                size = max(size, min(room, self._end - start))
            self._take(start, size, image.name)
            self._result.segments.append((start, segment.data))
        return image.entry + shift

    def _take(self, start: int, size: int, name: str) -> None:
        end = start + size
        where = f"{name}: {format_size(size)} at {start:#x}-{end - 1:#x}"
        if start < self._base or end > self._end:
            ram = f"{format_size(self._end - self._base)} at {self._base:#x}-{self._end - 1:#x}"
            raise ImageError(f"{where} is not within RAM ({ram})")
        for other_start, other_end, other in self._taken:
            if start < other_end and other_start < end:
                taken = f"{other} at {other_start:#x}-{other_end - 1:#x}"
                raise ImageError(f"{where} overlaps {taken}; more memory may help")
        self._taken.append((start, end, name))
