"""What events an encoder was taught with, and proof that it was not taught what is asked."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from tailrec.data.exchange import fingerprint
from tailrec.data.split import Split
from tailrec.dataset import Dataset
from tailrec.errors import DataError

LEARNT: Final = "learnt"
"""Name in an encoder's card of what `learnt` says, once for each time it was taught."""


def learnt(known: Dataset, split: Split | None) -> dict[str, Any]:
    """What is to be told of the events that an encoder has seen.

    Args:
        known: what it learns from.
        split: whose part for learning that is; None where nothing was held back.
    """
    return {
        "n_events": known.n_events,
        "until_us": known.now,
        "until": datetime.fromtimestamp(known.now / 1e6, UTC).isoformat(),
        "split": None if split is None else fingerprint(split),
        "cut": split is not None and split.cut is not None,
    }


def check_unseen(encoder: str, card: Mapping[str, Any], splits: Sequence[Split]) -> None:
    """Refuse to evaluate with an encoder that was taught the events that are asked for.

    It may have learnt from the same split, or from what happened before the split's cut in time.

    Args:
        encoder: its name.
        card: of the encoder; empty for one that was not trained here.
        splits: what will be asked.

    Raises:
        DataError: it has seen them, as far as its card tells.
    """
    for lesson in card.get(LEARNT, []):
        for split in splits:
            before = split.cut is not None and lesson["until_us"] <= split.cut
            if not before and lesson["split"] != fingerprint(split):
                raise DataError(
                    f"encoder {encoder!r} learnt from {lesson['n_events']:,} events up to "
                    f"{lesson['until']}, what split {split.name!r} asks for among them, so its "
                    "figures would mean nothing; train it with `tailrec train finetune` on what "
                    "this split leaves (one window in time, or leave-one-out), or name another "
                    "encoder"
                )
