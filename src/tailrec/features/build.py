"""The features of a shop's items: words counted and meaning encoded, in one fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from tailrec.artifact import under
from tailrec.dataset import Catalog, Features
from tailrec.errors import ArtifactError, RecipeError
from tailrec.features.text import LoadedEncoder, Progress, TextEncoder
from tailrec.features.words import Words, WordsModel
from tailrec.items import Array, Float32Array
from tailrec.recipe import Recipe

_WORDS = "words."
_MATRIX = "matrix."
_DENSE = "dense"
_MARK = "encoder"
_FIT = "put the files back, or run `tailrec fit`"


class FeatureRecipe(Recipe):
    """What is learnt of the items' texts.

    Attributes:
        words: how terms are counted.
        encode: whether a language model reads the texts too; without, `Features.dense` has no
            columns and no model is loaded.
        text: which language model, and how.
    """

    words: Words = Words()
    encode: bool = True
    text: TextEncoder = TextEncoder()

    def fit(
        self,
        catalog: Catalog,
        *,
        cache: Path | None = None,
        home: Path | None = None,
        progress: Progress | None = None,
    ) -> "FeatureModel":
        """Learn the vocabulary from a catalogue and turn its items into features.

        Args:
            catalog: every item known, with or without events; only their texts are used.
            cache: folder where vectors are kept, see `TextEncoder.prepare`.
            home: folder of the shop, see `TextEncoder.prepare`.
            progress: told how many of the texts not in the cache are encoded.
        """
        words = self.words.fit(catalog)
        encoder = self.text.prepare(cache=cache, home=home) if self.encode else None
        features = Features(words.encode(catalog), _dense(encoder, catalog, progress))
        mark = encoder.mark if encoder else ""
        return FeatureModel(self, words, features, cache, home, mark)

    def restore(
        self,
        arrays: Mapping[str, Array],
        *,
        cache: Path | None = None,
        home: Path | None = None,
    ) -> "FeatureModel":
        """The model that gave `arrays` under this recipe.

        Args:
            arrays: result of `FeatureModel.arrays`.
            cache: folder where vectors are kept, or None.
            home: folder of the shop, or None.
        """
        words = WordsModel.from_arrays(self.words, under(arrays, _WORDS))
        data, indices, indptr = (arrays[_MATRIX + name] for name in ("data", "indices", "indptr"))
        shape = (len(indptr) - 1, words.dim)
        matrix = sparse.csr_array((data, indices, indptr), shape=shape)
        mark = arrays[_MARK].tobytes().decode()
        return FeatureModel(self, words, Features(matrix, arrays[_DENSE]), cache, home, mark)


@dataclass(frozen=True)
class FeatureModel:
    """A vocabulary, an encoder, and the features of the items that were fitted.

    Attributes:
        recipe: options it was learnt with.
        words: the vocabulary.
        features: of the catalogue it was fitted on, row = catalogue number.
        cache: folder where vectors are kept, or None.
        home: folder of the shop, or None.
        mark: digest of the encoder's files when it was fitted; empty where it has none.
    """

    recipe: FeatureRecipe
    words: WordsModel
    features: Features
    cache: Path | None
    home: Path | None = None
    mark: str = ""

    @cached_property
    def encoder(self) -> LoadedEncoder | None:
        """The encoder, loaded when first asked for; None where the recipe has none.

        Raises:
            ArtifactError: its files are gone, or are not those the model was fitted with: vectors
                of the two would be of different spaces.
        """
        if not self.recipe.encode:
            return None
        text = self.recipe.text
        try:
            encoder = text.prepare(cache=self.cache, home=self.home)
        except RecipeError as error:
            raise ArtifactError(f"the model cannot read texts: {error}; {_FIT}") from error
        if self.mark and encoder.mark != self.mark:
            raise ArtifactError(
                f"the model cannot read texts: encoder {text.model!r} has changed since the fit "
                f"(its files had digest {self.mark[:8]}, now {encoder.mark[:8]}); {_FIT}"
            )
        return encoder

    def transform(self, catalog: Catalog, *, progress: Progress | None = None) -> Features:
        """Features of items, new ones too, in the space of the fitted ones.

        Args:
            catalog: the items.
            progress: told how many of the texts not in the cache are encoded.

        Returns:
            Rows in the order of `catalog`; words the fit did not see are left out.
        """
        return Features(self.words.encode(catalog), _dense(self.encoder, catalog, progress))

    def transform_queries(self, texts: Sequence[str]) -> Features:
        """Features of what people type, in the space of the items.

        Args:
            texts: [N] strings; they are never cached.

        Returns:
            N rows; zero where a text is blank or, in `words`, none of its words is known.
        """
        if self.encoder is None:
            dense = np.zeros((len(texts), 0), np.float32)
        else:
            dense = self.encoder.encode_texts(texts)
        return Features(self.words.encode_texts(texts), dense)

    def arrays(self) -> dict[str, Array]:
        """What was learnt, by name, for `FeatureRecipe.restore`."""
        matrix = self.features.words
        return {
            **{_WORDS + name: values for name, values in self.words.arrays().items()},
            _MATRIX + "data": matrix.data,
            _MATRIX + "indices": matrix.indices,
            _MATRIX + "indptr": matrix.indptr,
            _DENSE: self.features.dense,
            _MARK: np.frombuffer(self.mark.encode(), np.uint8),
        }


def _dense(
    encoder: LoadedEncoder | None, catalog: Catalog, progress: Progress | None
) -> Float32Array:
    if encoder is None:
        return np.zeros((len(catalog), 0), np.float32)
    return encoder.encode(catalog, progress=progress)
