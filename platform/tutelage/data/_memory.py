"""Sizes that files state, compared with what they hold and with the machine's memory before any of it is taken."""

from __future__ import annotations

import os

from tutelage.errors import InputError

MAX_RATIO = 1032  # no deflate stream is unpacked to more than that many times its bytes (zlib's technical notes)


def machine_bytes() -> int:
    """Return this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(num_bytes: int, where: str, times: int = 1) -> None:
    """Raise `InputError` for data of which `times` the bytes are larger than this machine's memory once they are unpacked."""
    memory = machine_bytes()
    if times * num_bytes > memory:
        taken = "" if times == 1 else f", and takes about {times} times that to read"
        raise InputError(
            f"{where}: is {num_bytes:,} bytes or more unpacked{taken}: more than this machine's memory ({memory:,}). Is it the "
            "right file? A folder of .npy files is memory-mapped."
        )
