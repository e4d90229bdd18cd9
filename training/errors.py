"""The errors that end in one line: the user's to mend, and a run that cannot go on."""


class InputError(ValueError):
    """Something that was given is wrong: the message says what was found and what was expected.

    The command line turns it into one line and exit code 2; any other exception is a bug and keeps its
    traceback.
    """


class DivergenceError(ArithmeticError):
    """A run met a loss or a gradient that is not finite; the command line ends with exit code 1."""
