"""The one exception that tensormoe raises on purpose."""


class TensorMoEError(ValueError):
    """An argument that cannot be used, with its value and what to do about it.

    Args:
        argument: name of the argument as the caller knows it.
        received: the value that was passed.
        remedy: one sentence that says what is wrong and what to pass instead.

    Examples:
        >>> from tensormoe import TensorMoEError
        >>> print(TensorMoEError("rank", 0, "a rank is a positive integer"))
        rank: received 0; a rank is a positive integer
    """

    def __init__(self, argument: str, received: object, remedy: str) -> None:
        # All three go to ValueError's own args, so that the exception pickles.
        super().__init__(argument, received, remedy)
        self.argument = argument
        self.received = received
        self.remedy = remedy

    def __str__(self) -> str:
        shown = repr(self.received)
        if len(shown) > 200:
            shown = shown[:197] + "..."
        return f"{self.argument}: received {shown}; {self.remedy}"


def positive_integer(argument: str, value: object) -> int:
    """Return `value` as an int, or raise the error that names `argument`."""
    # NumPy's integers are welcome, True and 3.0 are not: both hide a mistake.
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TensorMoEError(argument, value, "pass a positive integer")
    number = int(value.__index__())
    if number < 1:
        raise TensorMoEError(argument, value, "pass a positive integer")
    return number


def one_of(argument: str, value: object, known: "tuple[object, ...]") -> None:
    """Raise the error that lists `known` unless `value` is among them."""
    if value not in known:
        listed = ", ".join(repr(item) for item in known)
        raise TensorMoEError(argument, value, f"choose one of {listed}")
