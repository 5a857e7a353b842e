"""The supervisor binary interface of a paravirtual RISC-V machine, answered by the hypervisor."""

from lamina.machine.sbi.firmware import Sbi
from lamina.machine.sbi.host import SbiHost

__all__ = ["Sbi", "SbiHost"]
