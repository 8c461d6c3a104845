"""Each way to adapt an encoder: what it changes, that it learns, and what a run leaves."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, StaticEmbedding
from tests.training.test_finetune import COLOURS, THINGS, TITLES, encoded, material, purity
from tests.training.tiny import tiny_encoder
from torch.nn.functional import normalize

from tailrec.errors import RecipeError
from tailrec.features.adapted import BESIDE, NAME, learnt_beside, opened, put_beside
from tailrec.features.original import quiet
from tailrec.features.text import TextEncoder
from tailrec.features.token_sums import FILE, TokenSum
from tailrec.features.weights import read_card
from tailrec.training.adapt import adapted, n_trained
from tailrec.training.embedders import TokensEmbedder
from tailrec.training.finetune import finetune
from tailrec.training.prune import keep_tokens
from tailrec.training.recipes import Adapt, Course, Finetune
from tailrec.training.run_folder import RunFolder

RATES = {
    "map": 5e-3,
    "tokens": 5e-3,
    "full": 5e-3,
    "lora": 5e-3,
    "adalora": 2e-2,
    "prefix": 0.2,
    "adapter": 5e-2,
}
KINDS = {
    "map": Adapt(),
    "tokens": Adapt(kind="tokens"),
    "full": Adapt(kind="full"),
    "lora": Adapt(kind="lora"),
    "adalora": Adapt(kind="adalora", rank=4),
    "prefix": Adapt(kind="prefix"),
    "adapter": Adapt(kind="adapter"),
}
LAYER = 32 * 32 * 4 + 32 * 64 * 2
"""Weights of a layer's six matrices."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder([*COLOURS, *THINGS], tmp_path_factory.mktemp("base") / "tiny")


def recipe(base: Path, kind: str, *, steps: int = 60) -> Finetune:
    course = Course(steps=steps, rate=RATES[kind], check_every=20, device="cpu")
    return Finetune(model=str(base), adapt=KINDS[kind], course=course, batch=16)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_learns_and_changes_its_own_parameters_only(
    base: Path, tmp_path: Path, kind: str
) -> None:
    given, how = material(base), recipe(base, kind)
    run = RunFolder(tmp_path / "run", given.mark(how))
    finetune(how, given, run)
    assert purity(encoded(run.encoder)) > purity(given.vectors) + 0.3
    before, after = weights(base), weights(run.encoder)
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    layers = {name for name in before if name.startswith("encoder.layer.")}
    matrices = {name for name in layers if before[name].ndim == 2}
    tables = {name for name in before if name.startswith("embeddings.")}
    assert changed == {"full": tables | layers, "lora": matrices, "adalora": matrices}.get(
        kind, set()
    )
    assert (run.encoder / BESIDE).exists() == (kind in ("prefix", "adapter"))
    trained = {
        "map": 32 * 32,
        "tokens": 32 * (32 + len(COLOURS) + len(THINGS)),
        "full": sum(before[name].numel() for name in tables | layers),
        "lora": 2 * 16 * (4 * 64 + 2 * 96),
        "adalora": 2 * 6 * (4 * 65 + 2 * 97),
        "prefix": 2 * (2 * 16 * 32 + 2),
        "adapter": 2 * 2 * (2 * 32 * 32 + 32 + 32),
    }
    assert read_card(run.encoder)["trained_parameters"] == trained[kind]


@pytest.mark.parametrize("kind", ["map", "tokens", "full", "adalora", "prefix", "adapter"])
def test_a_killed_run_of_each_kind_goes_on_to_the_same_encoder(
    base: Path, tmp_path: Path, kind: str
) -> None:
    """Step 19 of 30: adalora has taken ranks away, and takes more."""
    given, how = material(base), recipe(base, kind, steps=30)
    whole, broken = (RunFolder(tmp_path / name, given.mark(how)) for name in "ab")
    finetune(how, given, whole)

    def stop(_: str, step: int, __: int) -> None:
        if step == 19:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(how, given, broken, progress=stop)
    finetune(how, given, broken)
    assert broken.curve() == whole.curve()
    assert np.array_equal(encoded(broken.encoder), encoded(whole.encoder))


def test_adalora_ends_with_the_ranks_it_was_given(base: Path, tmp_path: Path) -> None:
    given, how = material(base), recipe(base, "adalora")
    run = RunFolder(tmp_path / "run", given.mark(how))
    finetune(how, given, run)
    ranks = [line["ranks"] for line in run.curve() if "ranks" in line]
    assert ranks[0] == 2 * 6 * 6
    assert ranks[-1] == 2 * 6 * 4
    assert ranks == sorted(ranks, reverse=True)


def test_adalora_refuses_a_run_too_short_for_its_schedule(base: Path) -> None:
    with pytest.raises(RecipeError, match="10 steps"):
        adapted(opened(base, device="cpu"), KINDS["adalora"], steps=9)


@pytest.mark.parametrize("kind", ["lora", "adalora", "prefix", "adapter"])
def test_training_begins_with_the_encoder_as_it_is(base: Path, kind: str) -> None:
    plain, ready = opened(base, device="cpu"), opened(base, device="cpu")
    adapted(ready, KINDS[kind], steps=100)
    assert np.allclose(plain.encode(TITLES), ready.encode(TITLES), atol=1e-6)


def test_only_the_last_layers_are_trained(base: Path) -> None:
    model = opened(base, device="cpu")
    ready = adapted(model, Adapt(kind="full", layers=1), steps=1)
    assert n_trained(ready.module) == LAYER + 6 * 32 + 64 - 32 + 4 * 32
    named = [name for name, value in ready.module.named_parameters() if value.requires_grad]
    assert all("encoder.layer.1." in name for name in named)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("map", {"rank": 4}),
        ("map", {"left_out": 0.2}),
        ("lora", {"layers": 1}),
        ("full", {"dropout": 0.2}),
        ("prefix", {"width": 8}),
        ("adapter", {"length": 8}),
        ("adapter", {"scale": 1.0}),
    ],
)
def test_an_option_of_another_kind_is_refused(kind: str, options: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=f"`{next(iter(options))}` is for .*, not for '{kind}'"):
        Adapt.parse({"kind": kind, **options})
    whole = Adapt(kind=kind).model_dump()
    assert Adapt.parse(whole) == Adapt(kind=kind)  # a recipe that states every default


@pytest.mark.parametrize("kind", ["prefix", "adapter"])
def test_parts_are_read_without_code_of_the_folder(base: Path, tmp_path: Path, kind: str) -> None:
    model = opened(base, device="cpu")
    put_beside(model[0], kind, size=4)
    with torch.no_grad():
        for number, (_, value) in enumerate(learnt_beside(model[0].model)):
            value.copy_(torch.linspace(-1, 1, value.numel()).reshape(value.shape) / (number + 1))
    model.save(str(tmp_path / "own"), create_model_card=False)
    again = opened(tmp_path / "own", device="cpu")
    assert np.array_equal(model.encode(TITLES), again.encode(TITLES))
    assert not np.allclose(again.encode(TITLES), opened(base, device="cpu").encode(TITLES))
    put_beside(again[0], kind, size=4)  # the same ones stay
    assert np.array_equal(model.encode(TITLES), again.encode(TITLES))
    other = "adapter" if kind == "prefix" else "prefix"
    for wanted, size in ((kind, 5), (other, 4)):
        with pytest.raises(RecipeError, match=rf"already \({kind} of 4\)"):
            put_beside(again[0], wanted, size=size)
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(tmp_path / "own"), device="cpu")  # no silent plain encoder


def test_modules_of_unknown_code_are_not_run(base: Path, tmp_path: Path) -> None:
    model = opened(base, device="cpu")
    put_beside(model[0], "prefix", size=4)
    model.save(str(tmp_path / "own"), create_model_card=False)
    listed = json.loads((tmp_path / "own" / "modules.json").read_text())
    assert listed[0]["type"] == NAME
    listed[1]["type"] = "os.path.join"
    (tmp_path / "own" / "modules.json").write_text(json.dumps(listed))
    with pytest.raises(RecipeError, match=r"unknown code, os\.path\.join"):
        opened(tmp_path / "own", device="cpu")


def test_damaged_parts_are_refused(base: Path, tmp_path: Path) -> None:
    model = opened(base, device="cpu")
    put_beside(model[0], "prefix", size=4)
    model.save(str(tmp_path / "own"), create_model_card=False)
    path = tmp_path / "own" / BESIDE
    path.write_bytes(b"no tensors")
    with pytest.raises(RecipeError, match="does not hold the parts"):
        opened(tmp_path / "own", device="cpu")
    path.unlink()
    with pytest.raises(RecipeError, match="does not hold the parts"):
        opened(tmp_path / "own", device="cpu")


@pytest.mark.parametrize("kind", ["map", "tokens"])
def test_an_encoders_own_prompts_stay(base: Path, tmp_path: Path, kind: str) -> None:
    model = opened(base, device="cpu")
    model.prompts, model.default_prompt_name = {"item": "red "}, "item"
    model.save(str(tmp_path / "asked"), create_model_card=False)
    given, how = material(tmp_path / "asked"), recipe(tmp_path / "asked", kind, steps=2)
    run = RunFolder(tmp_path / "run", given.mark(how))
    finetune(how, given, run)
    after = opened(run.encoder, device="cpu")
    assert (after.prompts["item"], after.default_prompt_name) == ("red ", "item")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "map"])
def test_a_map_behind_a_table_has_no_layers_to_train(base: Path, tmp_path: Path, kind: str) -> None:
    tokenizer = opened(base, device="cpu").tokenizer.backend_tokenizer
    vectors = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), 32))
    table = StaticEmbedding(tokenizer, embedding_weights=vectors.astype(np.float32))
    static = tmp_path / "static"
    SentenceTransformer(modules=[table], device="cpu").save(str(static), create_model_card=False)
    given, how = material(static), recipe(static, "map", steps=2)
    run = RunFolder(tmp_path / "run", given.mark(how))
    finetune(how, given, run)
    for folder in (static, run.encoder):
        how = recipe(folder, kind, steps=10)
        other = RunFolder(tmp_path / "other", "mark")
        with pytest.raises(RecipeError, match="begins with StaticEmbedding, which has no layers"):
            finetune(how, replace(given, base=folder), other)


def test_no_more_of_a_text_is_learnt_than_is_read(base: Path) -> None:
    model = opened(base, device="cpu")
    vectors = np.eye(2, 32, dtype=np.float32)
    texts = ["red lamp", "red lamp blue mug"]

    def used(max_length: int | None) -> list[str]:
        learnt = TokensEmbedder(vectors, model, texts, max_length=max_length, left_out=0)
        return sorted(model.tokenizer.convert_ids_to_tokens(learnt.used))

    assert used(4) == ["lamp", "red"]  # two more mark the ends
    assert used(None) == used(100) == ["blue", "lamp", "mug", "red"]


def test_a_mark_tells_how_much_was_read_for_vectors(base: Path) -> None:
    given = material(base)
    less = replace(given, max_length=8)
    assert less.mark(recipe(base, "map")) != given.mark(recipe(base, "map"))
    assert less.mark(recipe(base, "lora")) == given.mark(recipe(base, "lora"))


@pytest.mark.parametrize("options", [{"adapt": "lora"}, {"adapt": {"kind": []}}, {"course": "x"}])
def test_a_recipe_of_another_shape_is_told(options: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=f"option {next(iter(options))}"):
        Finetune.parse(options)


def test_vectors_of_tokens_are_read_as_they_were_learnt(base: Path, tmp_path: Path) -> None:
    """Of a token that no item has there is nothing to add; the map is the same for all texts."""
    given, how = material(base), recipe(base, "tokens", steps=20)
    run = RunFolder(tmp_path / "run", given.mark(how))
    finetune(how, given, run)
    model = opened(run.encoder, device="cpu")
    (learnt,) = (part for part in model if isinstance(part, TokenSum))
    assert len(learnt.table) == 1 + len(COLOURS) + len(THINGS)
    assert not learnt.table[0].any()
    texts = [TITLES[0], f"{TITLES[0]} 7", "7 8"]
    ids = [model.tokenizer(text)["input_ids"] for text in texts]
    sums = [learnt.table[learnt.place[one]].sum(dim=0) / len(one) ** 0.5 for one in ids]
    plain = torch.as_tensor(opened(base, device="cpu").encode(texts))
    linear = next(part for part in model if isinstance(part, Dense))
    wanted = linear({"sentence_embedding": normalize(plain, dim=1)})["sentence_embedding"]
    wanted = normalize(wanted + torch.stack(sums), dim=1)
    assert sums[0].any()
    assert not sums[2].any()
    assert np.allclose(model.encode(texts), wanted.detach(), atol=1e-5)


def test_a_map_is_put_behind_vectors_of_tokens(base: Path, tmp_path: Path) -> None:
    given, how = material(base), recipe(base, "tokens", steps=20)
    first = RunFolder(tmp_path / "first", given.mark(how))
    finetune(how, given, first)
    vectors = encoded(first.encoder)
    again = replace(given, base=first.encoder, vectors=vectors)
    still = recipe(first.encoder, "map", steps=1)
    course = still.course.model_copy(update={"rate": 1e-12})
    still = still.model_copy(update={"course": course})
    second = RunFolder(tmp_path / "second", again.mark(still))
    finetune(still, again, second)
    assert np.allclose(encoded(second.encoder), vectors, atol=1e-5)


@pytest.mark.parametrize("kind", ["full", "lora", "prefix", "adapter", "tokens"])
def test_an_encoder_of_half_precision_is_trained_in_full(
    base: Path, tmp_path: Path, kind: str
) -> None:
    half = tmp_path / "half"
    opened(base, device="cpu").half().save(str(half), create_model_card=False)
    given, how = material(half), recipe(half, kind)
    run = RunFolder(tmp_path / "run", given.mark(how))
    outcome = finetune(how, given, run)
    assert outcome.best["cold recall@20"] > purity(given.vectors)
    made = opened(run.encoder, device="cpu")
    assert {value.dtype for value in made.parameters()} == {torch.float32}


def test_tokens_that_were_added_stay(base: Path) -> None:
    model = opened(base, device="cpu")
    model.tokenizer.add_tokens(["[DOMAIN]"])
    with torch.random.fork_rng(devices=[]), quiet():
        model[0].auto_model.resize_token_embeddings(len(model.tokenizer), mean_resizing=False)
    texts = [*TITLES, "[DOMAIN] red lamp"]
    before = model.encode(texts)
    keep_tokens(model, TITLES)
    assert "[domain]" in model.tokenizer.tokenize(texts[-1])
    assert np.allclose(model.encode(texts), before, atol=1e-6)


def test_tokens_numbered_anew_keep_their_vectors(base: Path, tmp_path: Path) -> None:
    given, how = material(base), recipe(base, "tokens", steps=20)
    run = RunFolder(tmp_path / "run", given.mark(how))
    finetune(how, given, run)
    model = opened(run.encoder, device="cpu")
    before = model.encode(TITLES)
    keep_tokens(model, TITLES)
    assert len(model.tokenizer) < 128
    assert np.allclose(model.encode(TITLES), before, atol=1e-6)


def test_damaged_vectors_of_tokens_are_refused(base: Path, tmp_path: Path) -> None:
    given, how = material(base), recipe(base, "tokens", steps=2)
    run = RunFolder(tmp_path / "run", given.mark(how))
    finetune(how, given, run)
    (path,) = run.encoder.rglob(FILE)
    tensors = load_file(path)
    save_file(tensors | {"place": tensors["place"] + 100}, path)
    with pytest.raises(RecipeError, match="names tokens whose vectors"):
        opened(run.encoder, device="cpu")
    path.write_bytes(b"no tensors")
    with pytest.raises(RecipeError, match="does not hold the vectors"):
        opened(run.encoder, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tokens", "prefix", "adapter"])
def test_encoders_with_parts_have_an_int8_form(
    base: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    given, how = material(base), recipe(base, kind)
    run = RunFolder(tmp_path / "run", given.mark(how))
    finetune(how, given, run)
    with caplog.at_level(logging.WARNING):
        loaded = TextEncoder(model=str(run.encoder)).prepare(cache=tmp_path / "cache")
    assert not caplog.records  # no fall back to fp32
    likeness = (loaded.encode_texts(TITLES) * encoded(run.encoder)).sum(axis=1)
    assert likeness.min() > 0.97
