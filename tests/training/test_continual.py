"""Two periods that teach different things: what plain training forgets, and what keeps it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from tests.training.test_finetune import COLD, TASTE, TITLES, encoded, judged
from tests.training.tiny import tiny_encoder
from tests.worlds import shop

from tailrec.dataset import Catalog
from tailrec.errors import ArtifactError, RecipeError
from tailrec.items import Array, Float32Array
from tailrec.training.behaviour import Contrastive, Judged, Lessons
from tailrec.training.consolidation import CONSOLIDATION, fisher_diagonal, trained
from tailrec.training.continual import Continue
from tailrec.training.course import Task, train
from tailrec.training.embedders import MapEmbedder
from tailrec.training.finetune import Material, finetune
from tailrec.training.forgetting import forgetting
from tailrec.training.memory import MEMORY, Memory, remembered
from tailrec.training.pairs import Affinity
from tailrec.training.recipes import Adapt, Course, Finetune, Objective
from tailrec.training.replay import Replay
from tailrec.training.retain import Start, continued
from tailrec.training.run_folder import RunFolder

N_KINDS, HELD = 8, 8
Known = tuple[Float32Array, Memory | None]
Period = tuple[Array, Array, Array]


class World:
    """Things of 8 colours: in period 1 colours go together by twos, in period 2 other things do.

    Vectors are sums of a colour's and a thing's, so a map that brings things of one sort together
    drops what tells colours apart.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        colour, thing = np.divmod(np.arange(N_KINDS**2), N_KINDS)
        words = rng.normal(size=(2 * N_KINDS, 24))
        vectors = words[colour] + words[N_KINDS + thing]
        vectors += 0.3 * rng.normal(size=vectors.shape)
        self.vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        self.data = shop([], [f"thing{n}" for n in range(len(vectors))])
        self.periods: list[Period] = []
        for sold, group in ((thing < 4, colour // 2), (thing >= 4, thing // 2)):
            rows = np.flatnonzero(sold)
            self.periods.append((rows, group, rng.choice(rows, HELD, replace=False)))

    def lessons(self, period: Period) -> Lessons:
        """Items sold in the period, of one group and not held out, belong together."""
        rows, group, held = period
        taught = np.zeros(len(group), bool)
        taught[np.setdiff1d(rows, held)] = True
        same = (group[:, None] == group) & taught[:, None] & taught
        affinity = Affinity.of(sparse.csr_array(same.astype(np.float32)))
        return Lessons(self.data, affinity, np.zeros((len(group), 0), np.int32))

    def purity(self, known: Known, period: Period) -> float:
        """Share of the eight nearest to a held-out thing that are of its group."""
        rows, group, held = period
        like = known[0][held] @ known[0][rows].T
        like[held[:, None] == rows] = -2
        nearest = rows[np.argsort(-like, axis=1)[:, :8]]
        return float((group[nearest] == group[held][:, None]).mean())

    def learn(self, known: Known, period: Period, options: Continue | None, folder: Path) -> Known:
        """What is known after one more period."""
        vectors, memory = known
        embedder, lessons, run = MapEmbedder(vectors), self.lessons(period), RunFolder(folder, "")
        make = maker(embedder)
        task: Task = make(lessons)
        if options is not None and memory is not None:
            start = Start(embedder, vectors, memory, run, 0)
            task = continued(options, start, lessons, Objective(), 32, make=make)
        course = Course(steps=60, rate=2e-2, check_every=60, keep_every=60, device="cpu")
        train(task, course, run)
        kept = remembered(self.data.catalog, lessons.affinity, "", memory)
        return embedder.encode(np.arange(len(vectors))), kept

    def figures(self, known: Known) -> list[float]:
        """Of both periods."""
        return [self.purity(known, period) for period in self.periods]


def maker(embedder: MapEmbedder) -> Callable[[Lessons], Contrastive]:
    none = Judged(np.zeros(0, np.int64), lambda _: {})

    def make(lessons: Lessons) -> Contrastive:
        return Contrastive(embedder, lessons, Objective(), size=32, judged=none)

    return make


SEEDS = (0, 1, 2)
Begun = list[tuple[World, Known]]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """Worlds, and what is known after period 1: the same whatever comes next."""
    found = []
    for world in map(World, SEEDS):
        folder = tmp_path_factory.mktemp("first")
        first = world.learn((world.vectors, None), world.periods[0], None, folder)
        found.append((world, first))
    return found


def matrices(begun: Begun, options: Continue | None, folder: Path) -> list[Array]:
    found = []
    for number, (world, known) in enumerate(begun):
        after = world.learn(known, world.periods[1], options, folder / str(number))
        found.append(np.array([world.figures(known), world.figures(after)]))
    return found


@pytest.fixture(scope="module")
def plainly(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> list[Array]:
    return matrices(begun, None, tmp_path_factory.mktemp("plain"))


def test_plain_training_learns_and_forgets(begun: Begun, plainly: list[Array]) -> None:
    for (world, _), figures in zip(begun, plainly, strict=True):
        before = world.figures((world.vectors, None))
        assert figures[0, 0] > before[0] + 0.25
        assert figures[1, 1] > before[1] + 0.1
        assert forgetting(figures) > 0.1


@pytest.mark.parametrize(
    "options",
    [
        Continue(),
        # What was learnt to the end has a loss near 0, and little Fisher information.
        Continue(replay=0, consolidate=1e6),
        Continue(replay=0, remember=1),
        Continue(replay=0.5, consolidate=1e5, remember=1),
    ],
    ids=["replay", "consolidate", "remember", "all"],
)
def test_each_means_forgets_less_and_still_learns(
    options: Continue, begun: Begun, plainly: list[Array], tmp_path: Path
) -> None:
    kept = matrices(begun, options, tmp_path)
    lost = [forgetting(figures) for figures in kept]
    plain = [forgetting(figures) for figures in plainly]
    assert all(own < other - 0.03 for own, other in zip(lost, plain, strict=True))
    assert np.mean(lost) < np.mean(plain) / 2
    assert all(figures[1, 1] > figures[0, 1] + 0.2 for figures in kept)


def test_fisher_information_is_the_mean_squared_gradient_of_a_pair() -> None:
    world = World(0)
    embedder = MapEmbedder(world.vectors)
    task = maker(embedder)(world.lessons(world.periods[0]))
    rngs = np.random.default_rng(0).spawn(200)
    found = fisher_diagonal(task, rngs)["linear.weight"]
    parameter = trained(task.module)["linear.weight"]
    exact, n_pairs = torch.zeros_like(found), 0
    for number, rng in enumerate(np.random.default_rng(0).spawn(20)):
        losses = task.losses(task.batch(number, rng))
        for loss in losses:
            exact += torch.autograd.grad(loss, parameter, retain_graph=True)[0].square()
        n_pairs += len(losses)
    exact /= n_pairs
    # 200 batches of signs: the sum over 576 parameters strays by a few percent, each by some ten.
    assert float(found.sum()) == pytest.approx(float(exact.sum()), rel=0.1)
    assert float(torch.corrcoef(torch.stack([found.ravel(), exact.ravel()]))[0, 1]) > 0.95


def test_replay_draws_its_share_and_hides_both_kinds_of_partners() -> None:
    def of(*pairs: tuple[int, int]) -> Affinity:
        matrix = np.zeros((40, 40), np.float32)
        for a, b in pairs:
            matrix[a, b] = matrix[b, a] = 1
        return Affinity.of(sparse.csr_array(matrix))

    now = of(*((n, n + 1) for n in range(0, 20, 2)))
    before = of(*((n, n + 1) for n in range(20, 40, 2)))
    drawn = Replay(before, 0.25).beside(now).draw(16, np.random.default_rng(0))
    assert (drawn.anchor[:, 0] >= 20).sum() == 4
    assert np.array_equal(drawn.anchor[:, 0] ^ 1, drawn.target)
    lessons = Lessons(shop([], ["x"] * 40), now, np.zeros((40, 0), np.int32))
    both = replace(lessons, replay=Replay(before, 0.25))
    rows = np.array([0, 20])
    assert lessons.partners(rows, rows + 1).tolist() == [[True, False], [False, False]]
    assert both.partners(rows, rows + 1).tolist() == [[True, False], [False, True]]


def test_a_memory_outlasts_the_disk_and_another_catalogue(tmp_path: Path) -> None:
    world = World(0)
    first, second = (world.lessons(period).affinity for period in world.periods)
    kept = remembered(world.data.catalog, first, "abc")
    kept.save(tmp_path)
    read = Memory.read(tmp_path)
    assert read.digest == kept.digest
    assert (read.periods, read.encoder) == (1, "abc")
    again = read.affinity(world.data.catalog)
    assert np.array_equal(again.matrix.toarray() > 0, first.matrix.toarray() > 0)

    table = world.data.catalog.table
    fewer = Catalog(table.reverse().head(60))  # other numbers, four items gone
    moved = read.affinity(fewer).matrix.toarray() > 0
    place = [world.data.catalog.index[name] for name in fewer.ids]
    assert np.array_equal(moved, (first.matrix.toarray() > 0)[np.ix_(place, place)])

    both = remembered(world.data.catalog, second, "def", read)
    assert both.periods == 2
    union = (first.matrix + second.matrix).toarray() > 0
    assert np.array_equal(both.affinity(world.data.catalog).matrix.toarray() > 0, union)
    gone = remembered(fewer, second_of(second, place), "ghi", read)
    assert np.array_equal(gone.affinity(world.data.catalog).matrix.toarray()[first.warm] > 0,
                          (first.matrix.toarray() > 0)[first.warm])  # fmt: skip


def second_of(affinity: Affinity, place: list[int]) -> Affinity:
    return Affinity.of(sparse.csr_array(affinity.matrix[place][:, place]))


def test_a_memory_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="keep_memory"):
        Memory.read(tmp_path)
    (tmp_path / MEMORY).write_bytes(b"nothing of the kind")
    with pytest.raises(ArtifactError, match="damaged"):
        Memory.read(tmp_path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = sorted({word for title in TITLES for word in title.split()})
    return tiny_encoder(words, tmp_path_factory.mktemp("base") / "tiny")


def material(folder: Path, group: Array, earlier: Memory | None = None) -> Material:
    same = (group[:, None] == group).astype(np.float32)
    same[COLD] = same[:, COLD] = 0
    histories = [np.flatnonzero(group == one)[:-2].tolist() for one in np.unique(group)] * 6
    nothing = np.zeros((len(TITLES), 0), np.int32)
    taught = Lessons(shop(histories, TITLES), Affinity.of(sparse.csr_array(same)), nothing)
    return Material(folder, TITLES, encoded(folder), taught, judged(), earlier=earlier)


def recipe(model: Path, kind: str, **options: object) -> Finetune:
    course = Course(steps=20, rate=5e-3, check_every=20, keep_every=5, device="cpu")
    adapt = Adapt.parse({"kind": kind})
    return Finetune(model=str(model), adapt=adapt, course=course, batch=16, **options)


THINGS = np.arange(len(TITLES)) // 8
ALL = Continue(replay=0.5, consolidate=10, remember=1)


@pytest.mark.parametrize("kind", ["map", "tokens", "full", "lora", "prefix", "adapter"])
def test_a_run_goes_on_from_a_run_and_from_a_stop(base: Path, tmp_path: Path, kind: str) -> None:
    first, given = RunFolder(tmp_path / "first", "1"), material(base, TASTE)
    finetune(recipe(base, kind), given, first)
    asked = recipe(first.encoder, kind, continual=ALL)
    new = material(first.encoder, THINGS, Memory.read(first.folder))
    whole, broken = (RunFolder(tmp_path / name, new.mark(asked)) for name in "ab")
    finetune(asked, new, whole)

    def stop(_: str, step: int, __: int) -> None:
        if step == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(asked, new, broken, progress=stop)
    assert (broken.folder / CONSOLIDATION).is_file()
    finetune(asked, new, broken)
    assert broken.curve() == whole.curve()
    assert np.array_equal(encoded(broken.encoder), encoded(whole.encoder))
    assert Memory.read(whole.folder).periods == 2
    if kind == "map":  # maps of two runs are one
        assert len(list(whole.encoder.glob("*Dense*"))) == 1


def test_what_cannot_be_continued_is_told(base: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "1")
    plain = material(base, TASTE)
    with pytest.raises(RecipeError, match="none was given"):
        finetune(recipe(base, "map", continual=ALL), plain, run)
    memory = remembered(plain.lessons.data.catalog, plain.lessons.affinity, "other")
    other = replace(plain, earlier=memory)
    with pytest.raises(RecipeError, match="of another encoder"):
        finetune(recipe(base, "map", continual=ALL), other, run)
    assert other.mark(recipe(base, "map")) != plain.mark(recipe(base, "map"))


def test_an_autoencoder_is_not_given_pairs(tmp_path: Path) -> None:
    world = World(0)
    memory = remembered(world.data.catalog, world.lessons(world.periods[0]).affinity, "")
    embedder = MapEmbedder(world.vectors)

    def make(_: Lessons) -> Task:
        raise AssertionError

    start = Start(embedder, world.vectors, memory, RunFolder(tmp_path, "1"), 0)
    with pytest.raises(RecipeError, match="histories, not pairs"):
        continued(
            Continue(),
            start,
            world.lessons(world.periods[1]),
            Objective(kind="autoencoder"),
            32,
            make=make,
        )
