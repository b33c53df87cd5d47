"""Documents of a text in windows, and short ones packed into rows."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np


def document_windows(is_end: np.ndarray, longest: int) -> np.ndarray:
    """Return the start and the length of each window `[n, 2]` of a text, which no document shares with another.

    `is_end` `[total]` marks the last character of each document. The inputs of a document are the end of the one before it and
    its own characters but the last, so its first character is predicted from that end, and its own end is predicted too. A
    document of more than `longest` characters has several windows. The last character of the text is only predicted.
    """
    total = len(is_end)
    starts = np.unique(np.concatenate([[0], np.flatnonzero(is_end[: total - 1])]))
    sizes = np.diff(np.append(starts, total - 1))
    counts = -(-sizes // longest)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # of a window in its document
    first, left = np.repeat(starts, counts) + number * longest, np.repeat(sizes, counts) - number * longest
    return np.stack([first, np.minimum(left, longest)], axis=1)


def packed_rows(lengths: np.ndarray, is_head: np.ndarray, longest: int) -> list[list[int]]:
    """Return rows of windows, by their numbers, of at most `longest` characters together (best fit decreasing).

    `lengths` are those of the windows. A window that `is_head` can only be the first of a row. The windows of a row, and the
    rows by their first windows, are in the order of the text.
    """
    rows, room = list[list[int]](), list[tuple[int, int]]()  # room: (characters left, row), sorted
    for window in sorted(range(len(lengths)), key=lambda one: (not is_head[one], -lengths[one], one)):
        size = int(lengths[window])
        place = len(room) if is_head[window] else bisect_left(room, (size, 0))
        left, row = room.pop(place) if place < len(room) else (longest, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(window)
        insort(room, (left - size, row))
    return sorted([*row[:1], *sorted(row[1:])] if is_head[row[0]] else sorted(row) for row in rows)
