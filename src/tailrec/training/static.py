"""A teacher poured into a table: each token gets a vector, a text is the mean of its tokens.

The table begins with the teacher's vector of each token by itself, less what all of them share,
weighted by how rare the token is in the shop. Then the texts themselves are told: the tokens'
vectors move so that their means come as near to the teacher's vectors of whole texts as a ridge
lets them. That is a sparse linear system; no gradient is followed.

Source:
    Tulkens and van Dongen 2024, model2vec, for the start; Arora et al. 2017, "A simple but
    tough-to-beat baseline for sentence embeddings", for the weights.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from scipy import sparse
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from tailrec import __version__
from tailrec.features.original import Original
from tailrec.features.text import Progress
from tailrec.items import Float32Array
from tailrec.training.encoder_files import save_encoder
from tailrec.training.likeness import LIKENESS, OVERLAP, hold_out, likeness, overlap, unit
from tailrec.training.prune import used_tokens
from tailrec.training.recipes import StaticDistil
from tailrec.training.taught import Taught

_LEAST_COUNT: Final = 3
"""Times a word stands in the texts before it becomes a token of its own."""

_RIDGES: Final = (0.03, 0.1, 0.3, 1.0, 3.0)
"""What is tried, in shares of what an average token is told."""

_SOLVER_STEPS: Final = 40
_BATCH_TOKENS: Final = 4096
_PIECE: Final = 2048


@dataclass(frozen=True)
class Poured:
    """A table, and how good it is.

    Attributes:
        model: the static encoder.
        figures: cosine to the teacher and neighbours shared, on texts held out.
        ridge: the ridge that was best on them; None without tuning.
    """

    model: SentenceTransformer
    figures: dict[str, float]
    ridge: float | None


def distil_static(
    recipe: StaticDistil, taught: Taught, folder: Path, *, progress: Progress | None = None
) -> Poured:
    """Make a table, and save it as a sentence-transformers model.

    Args:
        recipe: how.
        taught: what the teacher says.
        folder: gets the encoder.
        progress: told how many tokens the teacher has read.

    Raises:
        DataError: there are too few texts.
        RecipeError: the teacher's tokenizer is neither WordPiece nor Unigram.
    """
    poured = pour(recipe, taught, progress=progress)
    card = {
        "kind": "static",
        "teacher": taught.card(),
        "n_texts": len(taught.texts),
        "ridge": poured.ridge,
        "held_out": poured.figures,
        "versions": {"tailrec": __version__, "torch": torch.__version__},
    }
    save_encoder(poured.model, folder, card)
    return poured


def pour(recipe: StaticDistil, taught: Taught, *, progress: Progress | None = None) -> Poured:
    """Make a table; see `distil_static`."""
    learnt, held = hold_out(taught.texts, recipe.held_out, np.random.default_rng(recipe.seed))
    own = [taught.texts[row] for row in learnt]
    teacher = Original(taught.folder, device=None, max_length=taught.teacher.max_length)
    tokenizer = _tokenizer(teacher.model.tokenizer, own, recipe)
    tokenizer.enable_truncation(taught.teacher.max_length)
    means = _means(tokenizer, taught.texts)  # [N, V]
    basis = _basis(taught.vectors[learnt], recipe.dim)  # [D, dim]
    target = taught.vectors @ basis  # [N, dim]
    table = _read(teacher, tokenizer, progress) @ basis
    table *= _rarity(means[learnt], recipe.rarity)[:, None]

    def measured(table: Float32Array) -> dict[str, float]:
        near, exact = means[held] @ table, taught.vectors[held]
        return {LIKENESS: likeness(near @ basis.T, exact), OVERLAP: overlap(near, exact)}

    best, ridge, figures = table, None, measured(table)
    if recipe.tune:
        table = _scaled(table, means[learnt], target[learnt])
        for strength in _RIDGES:
            tuned = _tuned(table, means[learnt], target[learnt], strength)
            found = measured(tuned)
            if found[OVERLAP] > figures[OVERLAP]:
                best, ridge, figures = tuned, strength, found
    tokenizer.no_truncation()  # whoever reads says how much
    module = StaticEmbedding(tokenizer, embedding_weights=best)
    return Poured(SentenceTransformer(modules=[module], device="cpu"), figures, ridge)


def _tokenizer(teachers: Any, texts: Sequence[str], recipe: StaticDistil) -> Tokenizer:
    """The teacher's tokenizer with the tokens that are used, and frequent words as tokens."""
    fast, _ = used_tokens(teachers, texts, spare=recipe.spare)
    told = json.loads(fast.backend_tokenizer.to_str())
    if told["model"]["type"] == "WordPiece" and recipe.words:
        words = _words(fast.backend_tokenizer, texts)
        vocabulary = told["model"]["vocab"]
        frequent = [(-n, word) for word, n in words.items() if n >= _LEAST_COUNT]
        new = [word for _, word in sorted(frequent) if word not in vocabulary]
        vocabulary.update({word: len(vocabulary) + n for n, word in enumerate(new[: recipe.words])})
    # A mean has no place for the marks of a text's ends.
    return Tokenizer.from_str(json.dumps(told | {"post_processor": None}))


def _words(tokenizer: Tokenizer, texts: Sequence[str]) -> Counter[str]:
    words: Counter[str] = Counter()
    for text in texts:
        plain = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain))
    return words


def _read(teacher: Original, tokenizer: Tokenizer, progress: Progress | None) -> Float32Array:
    """float32 [V, D], the teacher's vector of each token by itself, less the mean of all.

    Zero where a token is no text.
    """
    number = tokenizer.get_vocab(with_added_tokens=True)
    special = {entry.content for entry in tokenizer.get_added_tokens_decoder().values()}
    surface = {
        row: token.removeprefix("##").replace("▁", " ").strip()
        for token, row in number.items()
        if token not in special
    }
    rows = np.array([row for row, text in sorted(surface.items()) if text], np.int64)
    rows = rows[np.argsort([-len(surface[row]) for row in rows], kind="stable")]
    vectors = np.zeros((len(number), teacher.dim), np.float32)
    for start in range(0, len(rows), _PIECE):
        piece = rows[start : start + _PIECE]
        texts = [surface[row] for row in piece]
        vectors[piece] = unit(teacher.vectors(texts, batch_tokens=_BATCH_TOKENS))
        if progress is not None:
            progress("reading tokens", start + len(piece), len(rows))
    vectors[rows] -= vectors[rows].mean(axis=0)
    return vectors


def _means(tokenizer: Tokenizer, texts: Sequence[str]) -> sparse.csr_array:
    """float32 [N, V], each token's share of its text."""
    read = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    ids = [np.array(entry.ids, np.int32) for entry in read]
    lengths = np.array([len(own) for own in ids])
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    share = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
    shape = (len(ids), tokenizer.get_vocab_size())
    matrix = sparse.csr_array((share, np.concatenate(ids), bounds), shape=shape)
    matrix.sum_duplicates()
    return matrix


def _basis(vectors: Float32Array, dim: int) -> Float32Array:
    """float32 [D, dim], the directions in which texts differ most, orthonormal.

    Not centred: cosines between texts are to stay what they are.
    """
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    return np.ascontiguousarray(directions[:, ::-1][:, :dim], np.float32)


def _rarity(means: sparse.csr_array, a: float) -> Float32Array:
    """float32 [V], the weight of each token."""
    share = np.asarray(means.sum(axis=0)).ravel() / max(means.shape[0], 1)
    return np.asarray(a / (a + share), np.float32)


def _scaled(table: Float32Array, means: sparse.csr_array, target: Float32Array) -> Float32Array:
    """The table in the length that suits the target best."""
    given = means @ table
    squares = float((given * given).sum())
    return table * np.float32((given * target).sum() / squares) if squares else table


def _tuned(
    table: Float32Array, means: sparse.csr_array, target: Float32Array, strength: float
) -> Float32Array:
    """The table moved by the least squares that bring means to the target.

    Args:
        table: float32 [V, dim].
        means: float32 [N, V], each token's share of its text.
        target: float32 [N, dim].
        strength: of the ridge on how far a token moves, in shares of the mean over tokens of what
            they are told.

    Source:
        Conjugate gradients with the diagonal as preconditioner, all columns at once.
    """
    told = np.asarray(means.multiply(means).sum(axis=0)).ravel()  # [V]
    ridge = np.float32(strength * told[told > 0].mean())
    back = means.T.tocsr()
    precondition = (1 / (told + ridge)).astype(np.float32)[:, None]
    moved = np.zeros_like(table)
    rest = back @ (target - means @ table)
    ready = precondition * rest
    direction, size = ready.copy(), (rest * ready).sum(axis=0)
    for _ in range(_SOLVER_STEPS):
        image = back @ (means @ direction) + ridge * direction
        step = size / np.maximum((direction * image).sum(axis=0), np.finfo(np.float32).tiny)
        moved += step * direction
        rest -= step * image
        ready = precondition * rest
        before, size = size, (rest * ready).sum(axis=0)
        direction = ready + size / np.maximum(before, np.finfo(np.float32).tiny) * direction
    return table + moved
