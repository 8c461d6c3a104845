"""What is known of a person, an item and the moment."""

from datetime import UTC, datetime

import numpy as np
from tests.worlds import shop, words_of

from tailrec.items import ItemsBatch
from tailrec.ranking.context import DECAY, context
from tailrec.ranking.pools import pooled


def test_every_number_is_what_its_name_says() -> None:
    data = shop([[0, 1], [], [2]], ["red ball", "red cup", "blue cup", ""])
    features = words_of(data)
    pool = pooled(
        {
            "linear": ItemsBatch(
                np.array([[2, 3], [0, -1], [1, 0]], np.int32),
                np.array([[2, 1], [1, -np.inf], [3, 1]], np.float32),
            )
        }
    )
    noon = int(datetime(2026, 3, 1, 12, 30, tzinfo=UTC).timestamp() * 1e6)  # a Sunday
    counts = np.array([1, 1, 1, 0])
    seen, names = context(data.queries(), pool, features, counts, np.full(3, noon))
    told = {name: seen[..., column] for column, name in enumerate(names)}
    assert names[:2] == ("score of linear", "rank of linear")
    assert told["hour"][0, 0] == 12
    assert told["weekday"][0, 0] == 6
    assert told["length of the history"][:, 0].tolist() == [
        np.float32(np.log(3)),
        0,
        np.float32(np.log(2)),
    ]
    place = pool.ids[0].tolist().index(2)
    past = DECAY * features.words[[0]].toarray()[0] + features.words[[1]].toarray()[0]
    fit = features.words[[2]].toarray()[0] @ past / np.linalg.norm(past)
    np.testing.assert_allclose(told["likeness of words"][0, place], fit, rtol=1e-5)
    assert told["events of the item"][0, place] == np.float32(np.log(2))
    assert np.isnan(told["likeness of words"][0, 1 - place])
    # The second person has no past, and no item here has a vector.
    assert np.isnan(told["likeness of words"][1, 0])
    assert np.isnan(told["days since the last event"][1, 0])
    assert np.isnan(told["likeness of meaning"][0]).all()
    latest = data.queries().days[1]
    assert told["days since the last event"][0, 0] == latest
