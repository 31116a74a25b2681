"""The one kind of error that is meant for a user."""


class ThawError(Exception):
    """Something that a user can put right, said in plain words.

    Example:
      >>> print(ThawError("there is no such folder.", where="photos", to_do="Create it."))
      photos: there is no such folder.
        Create it.

    Attributes:
      what: what is wrong, as a sentence.
      where: the file, folder or config key that it is about; empty if `what` says it.
      to_do: what the user can do about it, in full sentences; may have several lines.
    """

    def __init__(self, what: str, where: str = "", to_do: str = "") -> None:
        super().__init__(what, where, to_do)
        self.what = what
        self.where = where
        self.to_do = to_do

    def __str__(self) -> str:
        start = f"{self.where}: {self.what}" if self.where else self.what
        return "\n  ".join([start, *self.to_do.splitlines()])
