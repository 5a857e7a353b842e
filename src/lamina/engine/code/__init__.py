"""Machine code as data: images, the memory that they run in, and their files. Knows no LLVM."""
