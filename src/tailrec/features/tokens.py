"""Text to counted terms: words in any script, runs of words, runs of letters."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from scipy import sparse

UNSPACED: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no blanks between words, as a regular expression has them in brackets."""

_TOKEN: Final = rf"[{UNSPACED}]|[\p{{L}}\p{{M}}\p{{N}}--[{UNSPACED}]]+"
_LONGEST_WORD: Final = 32
"""Letters of a word that letter runs look at; what is longer is a serial number."""

ROW: Final = "row"
TERM: Final = "term"
COUNT: Final = "count"


def tokens(texts: Sequence[str]) -> pl.DataFrame:
    """The words of each text, in lower case, in order.

    Scripts that put no blanks between words (Chinese, Japanese, Thai ...) are cut into single
    letters; runs of two of them then do what words do elsewhere.

    Args:
        texts: [N] strings.

    Returns:
        row (uint32, position in `texts`) and term, one line a word.
    """
    plain = pl.col(TERM).str.normalize("NFKC").str.to_lowercase()
    return (
        pl.DataFrame({TERM: list(texts)}, schema={TERM: pl.String})
        .with_row_index(ROW)
        .with_columns(plain.str.extract_all(_TOKEN))
        .explode(TERM)
        .drop_nulls(TERM)
    )


def word_runs(words: pl.DataFrame, lengths: tuple[int, int]) -> pl.DataFrame:
    """How often each run of words stands in each text.

    Args:
        words: result of `tokens`.
        lengths: fewest and most words of a run.

    Returns:
        row, term (the run's words joined by a blank), count.
    """
    runs = []
    for length in range(lengths[0], lengths[1] + 1):
        run = pl.concat_str([pl.col(TERM).shift(-k) for k in range(length)], separator=" ")
        inside_one_text = pl.col(ROW) == pl.col(ROW).shift(1 - length)
        runs.append(words.select(ROW, run.alias(TERM)).filter(words.select(inside_one_text)[ROW]))
    return pl.concat(runs).group_by(ROW, TERM).agg(pl.len().alias(COUNT))


def letter_runs(words: pl.Series, lengths: tuple[int, int]) -> pl.DataFrame:
    """How often each run of letters stands in each word; a blank marks the word's ends.

    Args:
        words: [N] strings.
        lengths: fewest and most letters of a run, the marks counted.

    Returns:
        row (position in `words`), term (the run), count.
    """
    marked = pl.DataFrame({TERM: words.str.slice(0, _LONGEST_WORD)}).with_row_index(ROW)
    marked = marked.with_columns(pl.format(" {} ", TERM).alias(TERM))
    n_letters = marked[TERM].str.len_chars()
    longest = int(n_letters.max() or 0)  # type: ignore[arg-type]
    runs = [marked.clear()]
    for length in range(lengths[0], lengths[1] + 1):
        for start in range(longest - length + 1):
            reaching = marked.filter(n_letters >= start + length)
            runs.append(reaching.with_columns(pl.col(TERM).str.slice(start, length)))
    return pl.concat(runs).group_by(ROW, TERM).agg(pl.len().alias(COUNT))


def count_matrix(counts: pl.DataFrame, vocabulary: pl.Series, n_rows: int) -> sparse.csr_array:
    """Counted terms as a matrix.

    Args:
        counts: row, term, count.
        vocabulary: [V] terms, unique; column v of the result is `vocabulary[v]`.
        n_rows: rows of the result.

    Returns:
        float32 [n_rows, V]; terms outside the vocabulary are left out.
    """
    columns = pl.DataFrame({TERM: vocabulary}).with_row_index("column")
    known = counts.join(columns, on=TERM, how="inner")
    row, column = (known[name].to_numpy().astype(np.int32) for name in (ROW, "column"))
    value = known[COUNT].to_numpy().astype(np.float32)
    matrix = sparse.coo_array((value, (row, column)), shape=(n_rows, len(vocabulary))).tocsr()
    matrix.sort_indices()
    return matrix
