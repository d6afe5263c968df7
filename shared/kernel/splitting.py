"""A whole number of smallest units split exactly: the largest remainders get what rounding down leaves over."""

from collections.abc import Sequence


def split(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in proportion to `weights`, in whole numbers that add up to it (Hamilton's method, largest remainder).

    Each part is its exact share rounded down or up; up where most is lost otherwise, the first of equals. What is below
    zero is split like its opposite. Raises ValueError for a weight below 0 and where no weight is above.
    """
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise ValueError("a total is split by weights of 0 or more, at least one of them above 0")
    size = abs(total)
    quotients = [divmod(size * weight, whole) for weight in weights]
    parts = [part for part, _ in quotients]
    missing = size - sum(parts)
    if missing:
        remainders = [remainder for _, remainder in quotients]
        for index in sorted(range(len(parts)), key=remainders.__getitem__, reverse=True)[:missing]:
            parts[index] += 1
    return parts if total >= 0 else [-part for part in parts]
