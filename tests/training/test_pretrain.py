"""Pre-training lowers the perplexity of held-out texts and leaves an encoder."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from sentence_transformers import SentenceTransformer
from tests.training.tiny import tiny_encoder, tiny_language_model, tiny_tokenizer
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
)

from tailrec.errors import ArtifactError, DataError, RecipeError
from tailrec.features.adapted import opened
from tailrec.features.original import quiet
from tailrec.features.text import TextEncoder
from tailrec.features.token_sums import TokenSum
from tailrec.features.weights import PACKAGED, fingerprint, read_card
from tailrec.training.corpus import Corpus
from tailrec.training.course import Course, train
from tailrec.training.masked_model import MaskedModel, find_base, load_encoder
from tailrec.training.pretrain import LIKENESS, PERPLEXITY, Pretrain, PretrainTask, pretrain
from tailrec.training.recipes import Characters
from tailrec.training.run_folder import RunFolder

PRODUCTS = (
    ("red", "matte", "lipstick"),
    ("blue", "garden", "hose"),
    ("green", "herbal", "tea"),
    ("black", "running", "shoes"),
    ("white", "cotton", "shirt"),
    ("brown", "leather", "bag"),
    ("grey", "woollen", "socks"),
    ("pink", "nail", "polish"),
)
"""Words of one product always stand together, so two of them tell the third."""

WORDS = [word for product in PRODUCTS for word in product]
FAST = Course(steps=150, rate=3e-3, check_every=75, device="cpu")


def corpus() -> Corpus:
    texts = [
        " ".join(WORDS[3 * n + k] for n in pair for k in order)
        for pair in combinations(range(len(PRODUCTS)), 2)
        for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2))
    ]
    mixed = default_rng(0).permutation(texts).tolist()
    return Corpus(tuple(mixed[10:]), tuple(mixed[:10]), {"items": len(texts)})


def recipe(model: Path, **options: Any) -> Pretrain:
    return Pretrain(
        **{"model": str(model), "batch_tokens": 256, "course": FAST, "anchor": 0.0, **options}
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(WORDS, tmp_path_factory.mktemp("base") / "tiny")


def learnt(asked: Pretrain, folder: Path, texts: Corpus | None = None, **options: Any) -> RunFolder:
    """Pre-train; the run's folder."""
    read, base = texts or corpus(), find_base(asked.model)
    run = RunFolder(folder, asked.mark(read, base))
    pretrain(asked, read, base, run, **options)
    return run


def task_of(asked: Pretrain, texts: Corpus | None = None) -> PretrainTask:
    return PretrainTask(asked, texts or corpus(), find_base(asked.model))


def weights(task: PretrainTask) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in task.module.named_parameters()}


def steps(task: PretrainTask, n: int) -> list[float]:
    """Some steps without the course; their losses."""
    optimiser = torch.optim.AdamW(task.module.parameters(), lr=1e-3)
    losses = []
    for number in range(n):
        loss = task.loss(task.batch(number, default_rng(number)))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    return losses


def test_hidden_words_are_learnt_and_the_encoder_is_kept(base: Path, tmp_path: Path) -> None:
    done = learnt(recipe(base), tmp_path)
    card = read_card(done.encoder)
    before, after = card["before"], card["held_out"]
    # 24 words are equally likely, of 128 tokens: what knows counts begins near there, and only
    # what reads the words around comes below.
    assert before[PERPLEXITY] == pytest.approx(24, rel=0.4)
    assert after[PERPLEXITY] < 24 / 2
    assert before[LIKENESS] == pytest.approx(1, abs=1e-5)
    assert card["base"] == {"model": str(base), "fingerprint": fingerprint(base)}
    assert card["texts"] == {"items": 84, "train": 74, "held_out": 10}
    assert card["new_head"] is True
    assert set(card["versions"]) >= {"torch", "transformers"}

    trained, untaught = (load_encoder(folder) for folder in (done.encoder, base))
    assert [type(m) for m in trained] == [type(m) for m in untaught]
    vectors = [model.encode(WORDS, normalize_embeddings=True) for model in (trained, untaught)]
    assert after[LIKENESS] < 0.999
    assert (vectors[0] * vectors[1]).sum(axis=1).mean() < 0.999
    assert fingerprint(done.encoder) != fingerprint(base)


@pytest.mark.slow
def test_the_encoder_has_an_int8_form(base: Path, tmp_path: Path) -> None:
    done = learnt(recipe(base, course=FAST.model_copy(update={"steps": 20})), tmp_path)
    made = [
        TextEncoder(model=str(done.encoder), form=form).prepare().encode_texts(WORDS)
        for form in ("fp32", "int8")
    ]
    assert (made[0] * made[1]).sum(axis=1).min() > 0.98


def test_vectors_of_tokens_stay_where_they_are(base: Path, tmp_path: Path) -> None:
    model = opened(base, device="cpu")
    table = torch.randn(len(model.tokenizer), 32, generator=torch.Generator().manual_seed(0))
    table[0] = 0
    place = torch.arange(len(table))
    whole = SentenceTransformer(modules=[*model, TokenSum(table, place)], device="cpu")
    whole.save(str(tmp_path / "tokens"), create_model_card=False)
    task = PretrainTask(Pretrain(course=FAST), corpus(), tmp_path / "tokens")
    texts = list(corpus().held_out)
    read = task.model.encoder.preprocess(texts)
    found = task.model.eval().vectors(read["input_ids"], read["attention_mask"].bool())
    assert np.allclose(found.detach(), whole.encode(texts), atol=1e-5)
    run = RunFolder(tmp_path / "run", "mark")
    course = FAST.model_copy(update={"steps": 2, "check_every": 1})
    pretrain(Pretrain(course=course), corpus(), tmp_path / "tokens", run)
    (after,) = (part for part in opened(run.encoder, device="cpu") if isinstance(part, TokenSum))
    assert torch.equal(after.table, table)


def test_a_head_that_learnt_alone_leaves_words_to_the_adversary(base: Path, tmp_path: Path) -> None:
    """What stands still while the head learns is trained afterwards, looked at twice or not."""
    course = FAST.model_copy(update={"steps": 3, "check_every": 3, "adversarial": 0.1})
    recipe = Pretrain(course=course, head_batches=1)
    task = PretrainTask(recipe, corpus(), base)
    words = task.model.whole.get_input_embeddings().weight
    before = words.detach().clone()
    train(task, course, RunFolder(tmp_path, "mark"))
    assert words.requires_grad
    assert not torch.equal(words, before)


def test_an_anchor_keeps_vectors_where_they_were(base: Path, tmp_path: Path) -> None:
    short = FAST.model_copy(update={"steps": 60})
    free, held = (
        read_card(learnt(recipe(base, anchor=anchor, course=short), tmp_path / str(anchor)).encoder)
        for anchor in (0.0, 20.0)
    )
    assert held["held_out"][LIKENESS] > free["held_out"][LIKENESS] + 0.05
    assert held["held_out"][PERPLEXITY] < held["before"][PERPLEXITY]


def test_the_same_run_gives_the_same_encoder(base: Path, tmp_path: Path) -> None:
    short = FAST.model_copy(update={"steps": 10})
    marks = [
        fingerprint(learnt(recipe(base, course=short, anchor=1.0), tmp_path / name).encoder)
        for name in "ab"
    ]
    assert marks[0] == marks[1]


def test_a_stopped_run_goes_on_as_if_it_had_not_been(base: Path, tmp_path: Path) -> None:
    asked = recipe(base, anchor=1.0, head_batches=4, course=FAST.model_copy(update={"steps": 12}))
    whole = learnt(asked, tmp_path / "whole")

    def stop(_doing: str, step: int, _steps: int) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learnt(asked, tmp_path / "parts", progress=stop)
    parts = learnt(asked, tmp_path / "parts")
    assert fingerprint(parts.encoder) == fingerprint(whole.encoder)


def test_other_texts_are_another_run(base: Path, tmp_path: Path) -> None:
    short = recipe(base, course=FAST.model_copy(update={"steps": 2}))
    learnt(short, tmp_path)
    more = Corpus((*corpus().train, "red bag"), corpus().held_out, {"items": 85})
    with pytest.raises(ArtifactError, match="of another recipe or of other data"):
        learnt(short, tmp_path, more)


def test_measures_hide_the_same_words_each_time(base: Path) -> None:
    first, other_seed = (
        task_of(recipe(base, course=FAST.model_copy(update={"seed": seed}))) for seed in (0, 1)
    )
    for task in (first, other_seed):
        task.module.eval()
    with torch.no_grad():
        assert first.figures() == first.figures() == other_seed.figures()


def test_a_batch_depends_on_its_number_alone(base: Path) -> None:
    task, again = (task_of(recipe(base)) for _ in range(2))
    forwards = [task.batch(n, default_rng([0, n])) for n in range(8)]
    for n in reversed(range(8)):
        batch = again.batch(n, default_rng([0, n]))
        assert batch.ids.tolist() == forwards[n].ids.tolist()
        assert batch.seen.tolist() == forwards[n].seen.tolist()
        assert batch.ids[~batch.hidden].tolist() == batch.seen[~batch.hidden].tolist()


def test_a_new_head_learns_alone_at_first(base: Path) -> None:
    task = task_of(recipe(base, head_batches=3))
    before = weights(task)
    steps(task, 3)
    moved = {name for name, value in weights(task).items() if not torch.equal(value, before[name])}
    assert moved
    assert all("cls.predictions" in name for name in moved)
    losses = steps(task, 4)  # batches 0 to 2 are still of the head alone
    moved = {name for name, value in weights(task).items() if not torch.equal(value, before[name])}
    assert any("attention" in name for name in moved)
    assert np.isfinite(losses).all()


def test_a_head_that_is_there_is_taken(tmp_path: Path) -> None:
    folder = tiny_language_model(WORDS, tmp_path / "plain")
    task = task_of(recipe(folder, head_batches=100))
    assert not task.model.new_head
    with quiet():
        original = AutoModelForMaskedLM.from_pretrained(folder).eval()
    head = task.model.whole.cls.predictions.transform.dense.weight
    assert torch.equal(head, original.cls.predictions.transform.dense.weight)
    before = weights(task)
    steps(task, 1)
    assert any(not torch.equal(v, before[n]) for n, v in weights(task).items() if "layer.0" in n)


SMALL = {"vocab_size": 128, "num_attention_heads": 2, "max_position_embeddings": 40}
USUAL = {**SMALL, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
KINDS: Sequence[PreTrainedConfig] = (
    RobertaConfig(**USUAL, pad_token_id=0),
    MPNetConfig(**USUAL, pad_token_id=0),
    ElectraConfig(**USUAL, embedding_size=32, pad_token_id=0),
    DebertaV2Config(**USUAL, pad_token_id=0),
    ModernBertConfig(**USUAL, pad_token_id=0),
    DistilBertConfig(**SMALL, dim=32, n_layers=2, n_heads=2, hidden_dim=64, pad_token_id=0),
)


def written(config: PreTrainedConfig, folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
        tiny_tokenizer(WORDS).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.model_type)
def test_heads_of_every_kind_see_hidden_places_only(
    config: PreTrainedConfig, tmp_path: Path
) -> None:
    folder = written(config, tmp_path / "model")
    model = MaskedModel(load_encoder(folder), folder).eval()
    ids = torch.as_tensor(default_rng(0).integers(5, 60, (3, 9)))
    there = torch.ones(3, 9, dtype=torch.bool)
    there[2, 6:] = False
    hidden = torch.zeros(3, 9, dtype=torch.bool)
    hidden[0, 2] = hidden[1, 5] = hidden[2, 0] = hidden[2, 3] = True
    with torch.no_grad():
        logits, vectors = model.said(ids, there, hidden)
        usual = model.whole(input_ids=ids, attention_mask=there.long()).logits
        alone = model.vectors(ids, there)
    assert logits.shape == (4, 128)
    torch.testing.assert_close(logits, usual[hidden])
    torch.testing.assert_close(vectors, alone)
    losses = steps(task_of(recipe(folder)), 8)
    assert losses[-1] < losses[0]


def test_models_that_read_one_way_are_refused(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=128, n_embd=32, n_layer=1, n_head=2, n_positions=40)
    with quiet():
        AutoModel.from_config(config).save_pretrained(tmp_path / "gpt")
        tiny_tokenizer(WORDS).save_pretrained(tmp_path / "gpt")
    with pytest.raises(RecipeError, match=r"of a kind \(gpt2\) that has no head"):
        task_of(recipe(tmp_path / "gpt"))


def test_tokenizers_without_a_mask_are_refused(base: Path, tmp_path: Path) -> None:
    encoder = load_encoder(base)
    encoder.tokenizer.mask_token = None
    encoder.save(str(tmp_path / "model"), create_model_card=False)
    with pytest.raises(RecipeError, match="has no token for hidden words"):
        task_of(recipe(tmp_path / "model"))


def test_texts_of_another_script_are_told(base: Path) -> None:
    strange = Corpus(("手机",), ("很好",), {"items": 2})
    with pytest.raises(DataError, match="knows no word"):
        task_of(recipe(base), strange)


def test_models_that_are_nowhere_are_told() -> None:
    with pytest.raises(RecipeError, match="no-such-model"):
        find_base("no-such-model")


def test_own_letters_are_learnt(tmp_path: Path) -> None:
    own = Characters(vocabulary=128, layers=2, width=32, heads=2)
    chinese = "手机好用酒店干净水果新鲜"
    texts = [" ".join(chinese[n : n + 4] for n in (a, b)) for a in (0, 4, 8) for b in (0, 4, 8)]
    read = Corpus(tuple(texts[1:] * 4), (texts[0],), {"reviews": 9})
    asked = Pretrain(own=own, course=FAST.model_copy(update={"steps": 60}), batch_tokens=256)
    run = learnt(asked, tmp_path, read)
    card = read_card(run.encoder)
    # Twelve letters are equally likely; their neighbours tell which.
    assert card["before"][PERPLEXITY] > 10
    assert card["held_out"][PERPLEXITY] < 12 / 1.5
    model = load_encoder(run.encoder)
    assert model.tokenizer.tokenize("手机 好") == ["手", "机", "好"]
    assert model.encode("手机").shape == (32,)


@pytest.mark.slow
def test_the_packaged_encoder_is_pretrained(tmp_path: Path) -> None:
    course = Course(steps=2, check_every=2, rate=1e-4, device="cpu")
    asked = Pretrain(model=PACKAGED, course=course, batch_tokens=256)
    done = learnt(asked, tmp_path)
    card = read_card(done.encoder)
    # Of 30,522 tokens the texts have 24, which the head knows from the start.
    assert card["held_out"][PERPLEXITY] < card["before"][PERPLEXITY] < 100
    vectors = TextEncoder(model=str(done.encoder), form="fp32").prepare().encode_texts(WORDS)
    assert vectors.shape == (len(WORDS), 384)
