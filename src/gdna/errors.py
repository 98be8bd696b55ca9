"""The one exception that users are meant to see."""


class GdnaError(ValueError):
    """Bad input. The message is one line that names what was given and where, what was expected and what to do; the
    command line prints it without a traceback and leaves with status 2."""
