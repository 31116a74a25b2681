"""Which candidates the same test images have judged before.

Each further look at the same images is a further chance to pass by luck. The ledger counts the
looks and, if asked, shares the accepted chance out among them; docs/gate.md derives the rule.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from components.gate.rule import GateRule
from trainer.data.predictions import CANDIDATE, Predictions
from trainer.errors import ThawError

# Share of what is left that a look may spend.
SPENT_SHARE = 0.2

_ID_BYTES = 8
_SCHEMA = """
CREATE TABLE IF NOT EXISTS looks (
  time TEXT NOT NULL,        -- ISO 8601, UTC
  split TEXT NOT NULL,       -- fingerprint of the test images
  candidate TEXT NOT NULL,   -- fingerprint of its answers to them
  outcome TEXT NOT NULL,
  p_value REAL NOT NULL,     -- of the question of choice
  alpha REAL NOT NULL,       -- that was spent on it; 0 where none was
  left REAL NOT NULL,        -- of the accepted chance, after it
  images BLOB NOT NULL       -- the first 8 bytes of each test image's id, sorted
)
"""


@dataclass(frozen=True)
class Look:
    """One candidate's look at the test images.

    Attributes:
      split: fingerprint of the test images.
      candidate: fingerprint of the candidate's answers.
      earlier: number of other candidates that were judged by some of these images before.
      alpha: level of the test of choice.
      left: of the accepted chance, after this look; `spend` alone uses it up.
      is_new: whether this candidate was never judged by these images.
    """

    split: str
    candidate: str
    earlier: int
    alpha: float
    left: float
    is_new: bool = True


def spend(left: float) -> tuple[float, float]:
    """Returns what a look may spend of the accepted chance, and what is left then.

    Example:
      >>> spend(0.05)
      (0.010000000000000002, 0.04)
    """
    spent = SPENT_SHARE * left
    return spent, left - spent


class Ledger:
    """The looks at one output folder's test images, in a SQLite file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def look(
        self, predictions: Predictions, rule: GateRule, evidence: Predictions | None = None
    ) -> Look:
        """What is known of a candidate's look before it is judged.

        Args:
          predictions: of the test images; they tell one candidate from another.
          rule: says how looks are counted.
          evidence: what the candidate is judged by, if it is not the test images.

        Raises:
          ThawError: if the file is damaged.
        """
        images = _images(evidence or predictions)
        split = hashlib.sha256(images).hexdigest()
        candidate = _fingerprint(predictions)
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT split, candidate, alpha, left, images FROM looks ORDER BY rowid"
            ).fetchall()
        own, shown = _split_up(images), [_split_up(row[4]) for row in rows]
        seen = {row[1] for row, theirs in zip(rows, shown, strict=True) if own & theirs}
        same = [row for row in rows if row[:2] == (split, candidate)]
        earlier = len(seen - {candidate})
        if rule.reuse == "warn":
            return Look(split, candidate, earlier, rule.alpha, rule.alpha, not same)
        if same and same[-1][2]:
            _, _, alpha, left, _ = same[-1]
            return Look(split, candidate, earlier, alpha, left, is_new=False)
        before = rows[-1][3] if rows else 0.0
        fresh = own.difference(*shown)
        budget = min(rule.alpha, before + rule.alpha * len(fresh) / max(1, len(own)))
        alpha, left = spend(budget)
        return Look(split, candidate, earlier, alpha, left)

    def record(
        self, look: Look, judged: Predictions, rule: GateRule, outcome: str, p_value: float
    ) -> None:
        """Writes a look down; one that is not new counts no second time."""
        if not look.is_new:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        spent = look.alpha if rule.reuse == "spend" else 0.0
        row = (now, look.split, look.candidate, outcome, p_value, spent, look.left)
        with self._connect() as connection, connection:
            connection.execute(
                "INSERT INTO looks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, _images(judged))
            )

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        try:
            with closing(sqlite3.connect(self._path)) as connection:
                connection.execute(_SCHEMA)
                yield connection
        except sqlite3.Error as error:
            raise ThawError(
                f"cannot be used: {error}.",
                where=self._path,
                to_do="It says how often the test images were looked at. Restore it from a copy, "
                "or delete it: the gate then takes them for fresh ones.",
            ) from error


def _images(predictions: Predictions) -> bytes:
    """The first bytes of each test image's hash, in their order."""
    short = {hashlib.sha256(one.encode()).digest()[:_ID_BYTES] for one in predictions.ids}
    return b"".join(sorted(short))


def _fingerprint(predictions: Predictions) -> str:
    """Of the candidate's answers: two models that answer alike are one candidate."""
    answers = predictions.answers[CANDIDATE]
    digest = hashlib.sha256("\n".join(predictions.ids).encode())
    digest.update(answers.choices.tobytes())
    digest.update(answers.probabilities.tobytes())
    return digest.hexdigest()


def _split_up(images: bytes) -> set[bytes]:
    return {images[at : at + _ID_BYTES] for at in range(0, len(images), _ID_BYTES)}
