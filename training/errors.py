"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Something that was given is wrong: the message says what was found and what was expected.

    The command line turns it into one line and exit code 2; any other exception is a bug and keeps its
    traceback.
    """
