"""Errors. `NotApplicable` is an outcome that gets recorded; the others stop what the user asked for."""


class ScrutinyError(Exception):
    """Root of everything raised on purpose. The message says what was found, what was expected and what to do."""


class NotApplicable(ScrutinyError):
    """The method, task or metric does not fit this data. Recorded with its reason; never a zero."""


class InputError(ScrutinyError):
    """A file, column, option or study does not hold what is needed."""


class Misaligned(ScrutinyError):
    """The ids of an output differ from the ids of the cells that it was asked for."""


class ContractError(ScrutinyError):
    """A plugin broke a promise of its card or of the protocol it implements."""


class MissingDependency(NotApplicable):
    """An optional package is not installed. The message names the extra to install."""


class StoreError(ScrutinyError):
    """The folder of results cannot be written or read (no space, no permission). What was finished before is kept."""
