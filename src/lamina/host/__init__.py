"""The host's side of a machine: terminals now; disks and networks later. Imports only `base`."""
