"""A smaller encoder cut out of a larger one: fewer layers, and only the tokens that are read."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tailrec.errors import RecipeError
from tailrec.features.token_sums import TokenSum
from tailrec.items import Float32Array, Int64Array
from tailrec.training.likeness import likeness

Read = Callable[[], Float32Array]
"""Some texts as the model, as it is at the moment, reads them."""

_MARKED: Final = ("[unused", "<unused")
"""How tokens begin that stand for nothing."""


def even_layers(n_layers: int, kept: int) -> list[int]:
    """Numbers of layers spread evenly, the first and the last among them.

    Raises:
        RecipeError: there are not that many.
    """
    _check(n_layers, kept)
    return [round(place) for place in np.linspace(0, n_layers - 1, kept)] if kept > 1 else [0]


def least_harm_layers(model: SentenceTransformer, kept: int, read: Read) -> list[int]:
    """Numbers of layers that are left when the one that is missed least goes, one after another.

    Args:
        model: comes out as it went in.
        kept: layers that are left.
        read: texts by `model`; how like they stay to what the whole model gives is measured.

    Raises:
        RecipeError: the model has not that many layers, or shares their weights.

    Cost:
        Reads the texts about (n² - k²) / 2 times for n layers, k of them kept.
    """
    owner, name, whole = _stack(model)
    exact, left = read(), list(range(len(whole)))
    _check(len(whole), kept)
    while len(left) > kept:
        without = [[n for n in left if n != out] for out in left]
        found = []
        for some in without:
            setattr(owner, name, torch.nn.ModuleList([whole[number] for number in some]))
            found.append(likeness(read(), exact))
        left = without[int(np.argmax(found))]
    setattr(owner, name, whole)
    return left


def keep_layers(model: SentenceTransformer, kept: Sequence[int]) -> None:
    """Leave only some layers, in place.

    Args:
        model: a transformer.
        kept: their numbers, from 0, rising.

    Raises:
        RecipeError: the model has no such layers, or shares their weights.
    """
    owner, name, whole = _stack(model)
    rising = all(low < high for low, high in pairwise(kept))
    if not kept or not rising or not 0 <= kept[0] <= kept[-1] < len(whole):
        raise RecipeError(f"layers {list(kept)} of {len(whole)}; name some, rising, from 0")
    setattr(owner, name, torch.nn.ModuleList([whole[number] for number in kept]))
    config = _transformer(model).config
    types = getattr(config, "layer_types", None)
    if types is not None:
        config.layer_types = [types[number] for number in kept]
    config.num_hidden_layers = len(kept)


def keep_tokens(model: SentenceTransformer, texts: Sequence[str], *, spare: int = 0) -> None:
    """Leave only the tokens that texts use, in place: a text of them reads as it did.

    Single letters and special tokens stay, so that a word of any other text can be spelt.

    Args:
        model: with a WordPiece or a Unigram tokenizer.
        texts: what is read.
        spare: tokens that stay besides, those with the lowest numbers: in most vocabularies the
            most frequent.

    Raises:
        RecipeError: the tokenizer is of another kind.
    """
    tokenizer, kept = used_tokens(model.tokenizer, texts, spare=spare)
    first: Any = model[0]
    first.processor = tokenizer
    table = _transformer(model).get_input_embeddings()
    weights = table.weight.detach()[torch.as_tensor(kept)].clone()
    fresh = torch.nn.Embedding(len(kept), weights.shape[1], padding_idx=table.padding_idx)
    fresh.weight = torch.nn.Parameter(weights)
    _transformer(model).set_input_embeddings(fresh)
    for part in model:
        if isinstance(part, TokenSum):
            part.keep(kept)
    number = {int(before): after for after, before in enumerate(kept)}
    config = _transformer(model).config
    config.vocab_size = len(kept)
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(config, name, number.get(value))


def used_tokens(
    tokenizer: Any, texts: Sequence[str], *, spare: int
) -> tuple[PreTrainedTokenizerFast, Int64Array]:
    """A tokenizer of the tokens that texts use; see `keep_tokens`.

    Returns:
        The tokenizer, and int64 [V], the old number of each of its tokens.

    Raises:
        RecipeError: the tokenizer is neither WordPiece nor Unigram, or no transformer's.
    """
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise RecipeError(
            f"a {type(tokenizer).__name__} cannot lose tokens: it is no fast tokenizer of a "
            "transformer, as a table of token vectors has none; begin with another encoder"
        )
    told = json.loads(fast.to_str())
    pieces = _pieces(told["model"])
    kept = _kept(tokenizer, told, pieces, texts, spare)
    number = {int(before): after for after, before in enumerate(kept)}
    return _tokenizer(tokenizer, _renumbered(told, pieces, number)), kept


def _check(n_layers: int, kept: int) -> None:
    if not 1 <= kept <= n_layers:
        raise RecipeError(f"{kept} layers are asked for; the model has {n_layers}")


def _transformer(model: SentenceTransformer) -> Any:
    transformer = getattr(model[0], "auto_model", None)
    if transformer is None:
        raise RecipeError(f"{type(model[0]).__name__} is no transformer, so nothing can be cut off")
    return transformer


def _stack(model: SentenceTransformer) -> tuple[Any, str, torch.nn.ModuleList]:
    """What holds the layers, by which name, and the layers."""
    transformer = _transformer(model)
    n_layers = int(transformer.config.num_hidden_layers)
    for owner in transformer.modules():
        for name, child in owner.named_children():
            if isinstance(child, torch.nn.ModuleList) and len(child) == n_layers:
                return owner, name, child
    kind = type(transformer).__name__
    raise RecipeError(f"{kind} keeps its {n_layers} layers in no list; it cannot lose some")


def _pieces(told: dict[str, Any]) -> dict[int, str]:
    """Tokens by number."""
    if told["type"] == "WordPiece":
        return {number: piece for piece, number in told["vocab"].items()}
    if told["type"] == "Unigram":
        return {number: piece for number, (piece, _) in enumerate(told["vocab"])}
    raise RecipeError(f"a {told['type']} tokenizer cannot lose tokens; keep all of them")


def _kept(
    old: Any, told: dict[str, Any], pieces: dict[int, str], texts: Sequence[str], spare: int
) -> Int64Array:
    """int64, numbers of the tokens that stay, rising."""
    stay = {int(entry["id"]) for entry in told["added_tokens"]} | set(old.all_special_ids)
    # What stands before the padding stays, and with it the padding's number: some models count
    # places from it.
    stay |= set(range(int(old.pad_token_id or 0) + 1))
    stay.add(int(told["model"].get("unk_id") or 0))
    stay |= {n for n, piece in pieces.items() if len(piece.removeprefix("##").lstrip("▁")) <= 1}
    read = old.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    stay.update(*(entry.ids for entry in read))
    rest = (n for n in sorted(pieces) if n not in stay and not pieces[n].startswith(_MARKED))
    stay.update(number for number, _ in zip(rest, range(spare), strict=False))
    return np.array(sorted(stay), np.int64)


def _renumbered(
    told: dict[str, Any], pieces: dict[int, str], number: dict[int, int]
) -> dict[str, Any]:
    """A tokenizer's file with some tokens only, under new numbers."""
    own = told["model"]
    # Tokens that were added to a vocabulary come behind it, and stand in a list of their own.
    inside = {before: after for before, after in number.items() if before in pieces}
    if own["type"] == "WordPiece":
        own["vocab"] = {pieces[before]: after for before, after in inside.items()}
    else:
        own["vocab"] = [own["vocab"][before] for before in inside]
        if own.get("unk_id") is not None:
            own["unk_id"] = number[own["unk_id"]]
    for entry in told["added_tokens"]:
        entry["id"] = number[entry["id"]]
    around = told.get("post_processor") or {}
    for entry in around.get("special_tokens", {}).values():
        entry["ids"] = [number[before] for before in entry["ids"]]
    for name in ("sep", "cls"):
        if name in around:
            around[name] = [around[name][0], number[around[name][1]]]
    # Whoever reads texts says how long they may be, and how they are padded.
    return told | {"padding": None, "truncation": None}


def _tokenizer(old: Any, told: dict[str, Any]) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(json.dumps(told)),
        model_max_length=old.model_max_length,
        model_input_names=old.model_input_names,
        padding_side=old.padding_side,
        **old.special_tokens_map,
    )
