"""What can go wrong, as one tree.

::

    TailrecError
    ├── DataError            (ValueError)   the input is not what it must be
    │   ├── SchemaError      (ValueError)   a column is missing or of the wrong type
    │   ├── UnknownItem      (KeyError)     an item id the shop does not have
    │   └── UnknownUser      (KeyError)     a user id the shop does not have
    ├── RecipeError          (ValueError)   an option is unknown or out of range
    ├── StoreError           (RuntimeError) the store cannot be opened, read or written
    ├── ArtifactError        (RuntimeError) a saved model is missing or damaged
    ├── ProviderError        (RuntimeError) an outside service failed
    └── MissingExtra         (ImportError)  an optional package is not installed

A message names what was given, what was expected and what to do. A user without
history is not an error: every model answers for one.
"""


class TailrecError(Exception):
    """Base of every error tailrec raises on purpose."""

    def __str__(self) -> str:
        # KeyError quotes its argument; ours are sentences, shown as written.
        return str(self.args[0]) if self.args else type(self).__name__


class DataError(TailrecError, ValueError):
    """The input is not what it must be."""


class SchemaError(DataError):
    """A column is missing or holds the wrong type."""


class UnknownItem(DataError, KeyError):
    """An item id the shop does not have."""


class UnknownUser(DataError, KeyError):
    """A user id the shop does not have, where one is needed."""


class RecipeError(TailrecError, ValueError):
    """A recipe or an option is malformed."""


class StoreError(TailrecError, RuntimeError):
    """The store cannot be opened, read or written."""


class ArtifactError(TailrecError, RuntimeError):
    """A saved model is missing or damaged."""


class ProviderError(TailrecError, RuntimeError):
    """An outside service failed."""


class MissingExtra(TailrecError, ImportError):
    """An optional package is needed and not installed."""
