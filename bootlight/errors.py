"""The one exception that users are meant to see."""


class BootlightError(Exception):
    """Something the user can mend: one line that names the file or key and the cure.

    The command line prints the message without a traceback and exits with status 1.
    """
