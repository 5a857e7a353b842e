"""The machine: a computer of a board, vCPUs, memory and devices, to be run and looked at."""

from lamina.machine.config import DiskConfig, MachineConfig, Outcome
from lamina.machine.machine import Machine

__all__ = ["DiskConfig", "Machine", "MachineConfig", "Outcome"]
