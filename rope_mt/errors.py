"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """Something the user asked for cannot be done; the message is one line that says what to do.

    `cli.main` prints it without a traceback and exits with code 2.
    """
