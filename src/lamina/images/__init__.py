"""What `lamina run` fetches and builds: Debian's kernel, userland and firmware, and the guest that
comes with Lamina. Imports only `base`; nothing here knows a machine.
"""
