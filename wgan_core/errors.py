"""The one error a person is meant to read."""


class UserError(ValueError):
    """Something the person asked for cannot be done.

    The message is one line: what must hold, what was given, what to do. The command line prints it
    without a traceback and exits with status 2.
    """
