"""The compiler process: LLVM, which costs 50 MB, lives in a child of the VM's process.

`client` is the VM's side, `worker` the child's, `protocol` what they say to each other.
"""
