"""Sizes that files state, compared with what they hold and with the machine's memory before any of it is taken."""

from __future__ import annotations

import os

from tutelage.errors import InputError

MAX_RATIO = 1032  # no deflate stream is unpacked to more than that many times its bytes (zlib's technical notes)


def check_memory(num_bytes: int, where: str) -> None:
    """Raise `InputError` for data that are larger than this machine's memory once they are unpacked."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if num_bytes > memory:
        raise InputError(
            f"{where}: is {num_bytes:,} bytes unpacked, more than this machine's memory ({memory:,}). Is it the right file? "
            "A folder of .npy files is memory-mapped."
        )
