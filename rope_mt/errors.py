"""The one kind of error that is the user's to mend, and what a signal to leave becomes."""


class UserError(Exception):
    """Something the user asked for cannot be done; the message is one line that says what to do.

    `cli.main` prints it without a traceback and exits with code 2.
    """


class Interrupted(BaseException):
    """A signal has ended a run, which can go on from there: `cli.main` exits with 128 + `signum`.

    No Exception, so that it ends a whole sweep instead of one of its jobs. `saved` is the step that was saved for it.
    """

    def __init__(self, signum: int, saved: int | None = None) -> None:
        super().__init__(signum, saved)
        self.signum, self.saved = signum, saved
