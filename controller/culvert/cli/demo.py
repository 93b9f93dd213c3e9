"""placeholder"""


def demo() -> None:
    """Not there yet."""
