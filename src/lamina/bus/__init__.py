"""Guest-physical memory, device windows, DMA and interrupt lines. Knows no device and no engine."""
