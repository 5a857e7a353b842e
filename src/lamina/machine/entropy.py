"""Random bytes for the guest: the host's, or a constant stream in deterministic machines."""

import os
import random
from collections.abc import Callable


def entropy_source(deterministic: bool) -> Callable[[int], bytes]:
    """A function of n that gives n random bytes."""
    return random.Random(0).randbytes if deterministic else os.urandom
