"""Errors as a person meets them: one line."""


class UserError(ValueError):
    """Something the person asked for cannot be done.

    The message is one line: what must hold, what was given, what to do. The command line prints it
    without a traceback and exits with status 2.
    """


def one_line(error: BaseException) -> str:
    """An error's type and its last line, which in an error passed on from another process is the cause."""
    lines = str(error).strip().splitlines()
    said = lines[-1].strip() if lines else ""
    name = type(error).__name__
    return said if said.startswith(name) else f"{name}: {said}"
