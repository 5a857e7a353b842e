"""VirtIO 1.2 devices: split virtqueues, the MMIO transport, and the device types."""
