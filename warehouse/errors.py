"""Errors meant for people: what happened, to what, and what to do.

Every error the command line shows derives from :class:`WarehouseError`.
Subclasses live beside the feature that raises them.
"""

from __future__ import annotations

import inspect


class WarehouseError(Exception):
    """Something the user asked for cannot be done."""

    #: Exit status of the command line: 2 for bad input, 1 for a run that failed.
    exit_code = 2

    def __init__(self, message: str | None = None) -> None:
        """message: one sentence for the user; without it, the class docstring is the message."""
        super().__init__(message or inspect.cleandoc(self.__doc__ or "").splitlines()[0])


class RunFailed(WarehouseError):
    """The run ended, but a part of it failed."""

    exit_code = 1
