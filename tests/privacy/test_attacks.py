"""Each attack on releases made here, where what it can get is known."""

import math

import numpy as np
import pytest

from securesplit.audit import baselines, metrics, patches
from securesplit.audit.attacks import attributes, decoder, identification, lesion, likeness, ridge
from securesplit.audit.setting import AttackerKnowledge, Surface, exact_noise
from securesplit.privacy.release import ReleaseSpec, from_grid, to_grid

pytest.importorskip("sklearn")
SIDE = 16


def smooth_photos(count, seed, degrees=12):
    """Photos from a few smooth components: a world in which `degrees` numbers say everything."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    basis = np.random.default_rng(99)
    components = np.stack(
        [
            np.cos(np.pi * (basis.integers(0, 4) * x + basis.integers(0, 4) * y) + basis.random() * 6)
            for _ in range(degrees)
        ]
    )
    colours = basis.normal(size=(degrees, 3))
    weights = rng.normal(size=(count, degrees)) * 0.06
    photos = 0.5 + np.einsum("nd,dhw,dc->nhwc", weights, components, colours)
    return np.clip(photos, 0, 1).astype(np.float32), weights.astype(np.float32)


def known_and_targets(encode, count=600, targets=60):
    photos, _ = smooth_photos(count, 1)
    target, _ = smooth_photos(targets, 2)
    return AttackerKnowledge(photos, encode(photos), photos.mean((1, 2, 3)) > 0.5), target, encode(target)


def linear(photos):
    mix = np.random.default_rng(7).normal(size=(SIDE * SIDE * 3, 24)).astype(np.float32)
    return (photos - 0.5).reshape(len(photos), -1) @ mix / 20


def mean_baseline(known, target):
    return baselines.mean_image(known, len(target))


def test_ridge_inverts_a_linear_map():
    known, target, seen = known_and_targets(linear)
    rebuilt = ridge.reconstruct(known, seen, 0.0, 1)
    assert metrics.skill(target, rebuilt, mean_baseline(known, target)).mean > 0.98


def test_ridge_inverts_a_map_of_patches():
    """A strided stem, patch by patch, also with far fewer photos than numbers in the map."""

    def stem(photos):
        mix = np.random.default_rng(8).normal(size=(12, 16)).astype(np.float32)
        return np.maximum(patches.to_patches(photos, SIDE // 2) @ mix, -0.1)

    known, target, seen = known_and_targets(stem, count=40, targets=10)
    rebuilt = ridge.reconstruct(known, seen, 0.0, 1)
    assert metrics.ssim(target, rebuilt).mean() > 0.9


def test_ridge_knows_the_noise():
    """With noise as large as the signal it falls back to the mean image and never does worse than it."""
    known, target, clean = known_and_targets(linear)
    for sigma in (0.3, 3.0, 30.0):
        seen = (clean + np.random.default_rng(3).normal(0, sigma, clean.shape)).astype(np.float32)
        skill = metrics.skill(target, ridge.reconstruct(known, seen, sigma, 1), mean_baseline(known, target))
        assert skill.mean > -0.02
    assert skill.mean < 0.05


def test_the_decoder_finds_what_ridge_cannot():
    """One number says where along a curve a blob lies: no linear function of it draws the blob."""

    def blobs(count, seed):
        at = np.random.default_rng(seed).random((count, 1)).astype(np.float32)
        y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
        t = at[:, :, None]
        blob = np.exp(-((x - t) ** 2 + (y - 4 * (t - 0.5) ** 2) ** 2) / 0.03)
        return np.repeat(blob[..., None], 3, axis=-1).astype(np.float32), at

    (photos, clean), (target, seen) = blobs(400, 1), blobs(60, 2)
    known = AttackerKnowledge(photos, clean, clean[:, 0] > 0.5)
    baseline = mean_baseline(known, target)
    by_ridge = metrics.skill(target, ridge.reconstruct(known, seen, 0.0, 1), baseline).mean
    rebuilt = decoder.fit(known, 0.0, 1, updates=1000)(seen)
    by_decoder = metrics.skill(target, rebuilt, baseline).mean
    assert by_ridge < 0.5
    assert by_decoder > 0.8


@pytest.mark.parametrize("shape", [(3, 3, 16), (200,)])
def test_the_decoder_takes_releases_of_any_size(shape):
    """Fewer numbers than principal components are asked for, and many more photos than either."""

    def encode(photos):
        mix = np.random.default_rng(7).normal(size=(SIDE * SIDE * 3, math.prod(shape))).astype(np.float32)
        return ((photos - 0.5).reshape(len(photos), -1) @ mix / 20).reshape(-1, *shape)

    known, target, seen = known_and_targets(encode)
    rebuilt = decoder.fit(known, 0.0, 1, updates=300)(seen)
    assert metrics.skill(target, rebuilt, mean_baseline(known, target)).mean > 0.5


def test_more_releases_rebuild_better():
    """A5: without the same-noise rule, 64 independent releases give away what one does not."""
    known, target, clean = known_and_targets(linear)
    skills = []
    for releases in (1, 64):
        sigma = 3.0 / math.sqrt(releases)
        seen = (clean + np.random.default_rng(3).normal(0, sigma, clean.shape)).astype(np.float32)
        skills.append(
            metrics.skill(target, ridge.reconstruct(known, seen, sigma, 1), mean_baseline(known, target)).mean
        )
    assert skills[1] > skills[0] + 0.3


def test_patches_there_and_back():
    photos, _ = smooth_photos(3, 1)
    assert patches.from_patches(patches.to_patches(photos, 4), SIDE) == pytest.approx(photos, abs=1e-6)
    assert patches.cell_features(np.zeros((2, 4, 4, 5), np.float32)).shape == (2, 4, 4, 55)


def test_baselines():
    known, _, _ = known_and_targets(linear)
    answers = np.array([True] * 30 + [False] * 30)
    by_class = baselines.class_mean(known, answers)
    assert by_class[0] == pytest.approx(known.photos[known.malignant].mean(0), abs=1e-6)
    assert by_class[-1] == pytest.approx(known.photos[~known.malignant].mean(0), abs=1e-6)
    assert (baselines.nearest(known, known.noise_free[:5]) == known.photos[:5]).all()
    picked = baselines.random_of_class(known, answers, 1)
    assert all((known.photos[known.malignant] == p).all((1, 2, 3)).any() for p in picked[:30])


def test_baselines_where_a_class_is_never_seen():
    photos, weights = smooth_photos(10, 1)
    known = AttackerKnowledge(photos, weights, np.zeros(10, bool))
    assert baselines.class_mean(known, np.array([True])).shape == (1, SIDE, SIDE, 3)
    assert baselines.random_of_class(known, np.array([True]), 1).shape == (1, SIDE, SIDE, 3)


SPEC = ReleaseSpec("certified", (4,), "int16", step=1 / 64, clip_norm=1.0, sigma_per_clip=0.5)


def gallery(count, seed=1, spec=SPEC):
    points = np.random.default_rng(seed).normal(size=(count, *spec.shape)) * 2
    return np.stack([from_grid(to_grid(p, spec), spec) for p in points])


@pytest.mark.parametrize("sigma", [0.3, 0.69, 1.2, 2.16])
@pytest.mark.parametrize("candidates", [10, 100, 1000])
def test_identification_never_beats_its_certified_bound(sigma, candidates):
    """The optimal attacker, exact noise, and a gallery on the clip sphere, the attacker's best case."""
    spec = ReleaseSpec("certified", (4,), "int16", step=1 / 64, clip_norm=1.0, sigma_per_clip=sigma)
    clean = gallery(candidates, spec=spec)
    observed = Surface("certified", spec).observe(clean, seed=5)
    hits = metrics.top_k(-baselines.squared_distances(clean, observed), np.arange(candidates), 1)
    bound = spec.loss.identification_bound(candidates)
    assert hits.mean() <= bound + 3 * math.sqrt(bound * (1 - bound) / candidates)


def test_two_opposite_photos_meet_the_exact_rate():
    """Two candidates 2 C apart: the optimal attacker is right Φ(C/σ) of the time, no more and no less."""
    clean = np.array([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]] * 4000, np.float32)
    observed = Surface("certified", SPEC).observe(clean, seed=6)
    picks = baselines.nearest_index(clean[:2], observed)
    rate = (picks == np.arange(len(clean)) % 2).mean()
    expected = (1 + math.erf(1 / 0.5 / math.sqrt(2))) / 2
    assert rate == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / len(clean)))
    assert rate <= SPEC.loss.identification_bound(2)


def test_the_whole_batch_is_assigned_when_there_is_no_noise():
    clean = gallery(50)
    assert (identification.assign(baselines.squared_distances(clean, clean), 1) == 1).all()


def test_the_whole_batch_at_once_helps():
    spec = ReleaseSpec("certified", (4,), "int16", step=1 / 64, clip_norm=1.0, sigma_per_clip=0.2)
    clean = gallery(60, spec=spec)
    observed = Surface("certified", spec).observe(clean, seed=2)
    distances = baselines.squared_distances(clean, observed)
    assert identification.assign(distances, 1).mean() > metrics.top_k(-distances, np.arange(60), 1).mean()


def test_nobody_s_position_tells_whose_release_it_is():
    """Without any difference a batch is assigned as by chance, whatever order the solver works in."""
    right = identification.assign(np.zeros((50, 50)), 1, orders=200)
    assert right.mean() == pytest.approx(1 / 50, abs=4 * math.sqrt(1 / 50 / 50 / 200) * 2)


COARSE = ReleaseSpec("certified", (1,), "int8", step=0.5, clip_norm=1.0, sigma_per_clip=0.15)


@pytest.mark.parametrize("releases", [1, 4, 64])
def test_few_values_bound_identification_whatever_is_repeated(releases):
    """The optimal attacker on five values: at most five times a guess, from one release or from many."""
    clean = gallery(1000, spec=COARSE)
    observed = Surface("certified", COARSE).observe(clean, seed=3, releases=releases)
    hits = metrics.top_k(-baselines.squared_distances(clean, observed), np.arange(1000), 1)
    bound = COARSE.repeated(releases).identification_bound(1000)
    assert bound <= 5.001e-3
    assert 0.8 * bound < hits.mean() <= 1.02 * bound  # the attack is nearly as strong as can be; one draw of the noise


def test_the_noise_of_a_coarse_grid_is_smaller_than_its_parameter():
    surface = Surface("certified", COARSE)
    drawn = surface.observe(np.zeros((4000, 1), np.float32), seed=1)
    assert surface.sigma == pytest.approx(float(drawn.std()), rel=0.2)
    assert surface.sigma < 0.5 * COARSE.sigma_per_clip


def test_counted_pairs_recognise_where_distance_does_not():
    """Values that swap between two photos of a lesion: counting finds it, distance cannot."""
    rng = np.random.default_rng(3)
    swapped = np.array([2.0, 0.0, 1.0], np.float32)  # 0 -> 2, 1 -> 0, 2 -> 1

    def make(count):
        first = rng.integers(0, 3, count)
        return first[:, None].astype(np.float32), swapped[first][:, None]

    own, (first, second) = make(400), make(90)
    ways = likeness.scores(second, first, 0.0, own)
    truth = np.arange(90)
    rates = [metrics.top_k(scores, truth, 1).mean() for scores in ways]
    assert rates[-1] > 1.5 * rates[0]


def test_views_say_more_of_a_lesion_than_one_photo_of_few_values():
    """A level is a coarse look at the lesion's score; several views of the gallery's photo come nearer to it."""
    rng = np.random.default_rng(3)

    def make(count):
        score = rng.uniform(0, 5, count)
        seen = np.rint(score + rng.normal(0, 0.8, (10, count))).clip(0, 5)
        return list(seen[:, :, None].astype(np.float32)), np.rint(score)[:, None].astype(np.float32)

    own, (galleries, released) = make(400), make(150)
    counted, predicted = (
        metrics.top_k(ways[-1], np.arange(150), 1).mean()
        for ways in (
            likeness.scores(galleries[0], released, 0.1, (own[0][0], own[1])),
            likeness.scores_of_views(galleries, released, 0.1, own),
        )
    )
    assert predicted > 1.3 * counted
    assert len(likeness.scores_of_views(galleries[:1], released, 0.1, ([own[0][0]], own[1]))) == len(
        likeness.scores(galleries[0], released, 0.1, (own[0][0], own[1]))
    ), "one view is what there was before"


def test_the_mean_over_views_is_compared_too():
    rng = np.random.default_rng(3)

    def make(count):
        lesion_ = rng.normal(size=(count, 30))
        seen = lesion_ + rng.normal(0, 2.5, (10, count, 30))
        return list(seen.astype(np.float32)), lesion_.astype(np.float32)

    own, (galleries, released) = make(400), make(150)
    observed = (released + rng.normal(0, 0.5, released.shape)).astype(np.float32)
    one, several = (
        max(metrics.top_k(way, np.arange(150), 1).mean() for way in ways)
        for ways in (
            likeness.scores(galleries[0], observed, 0.5, (own[0][0], own[1])),
            likeness.scores_of_views(galleries, observed, 0.5, own),
        )
    )
    assert several > one + 0.2


def test_label_only_is_a_guess_within_the_class():
    answers = np.array([True] * 10 + [False] * 90)
    rates = identification.label_only(answers, answers, np.arange(100))
    assert rates[:10] == pytest.approx(0.1)
    assert rates[10:] == pytest.approx(1 / 90)
    assert rates.mean() == pytest.approx(2 / 100)
    wrong = identification.label_only(answers, ~answers, np.arange(100))
    assert wrong.max() == 0.0


def test_galleries():
    drawn = identification.draw_galleries(30, 10, 35, 1)
    assert [len(set(members)) for members in drawn] == [10] * 4
    assert len(identification.draw_galleries(30, 30, 4, 1)) == 1


def test_lesion_pairs():
    assert lesion.pairs(["a", "b", "a", "c", "c", "c"]).tolist() == [[0, 2], [3, 4]]
    assert lesion.pairs(["a", "b"]).shape == (0, 2)


def test_lesions_of_one_diagnosis_are_told_apart():
    """Of one diagnosis it is the AUC of each release's scores; candidates of another one do not count."""
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 6, (40, 40)) + 2 * np.eye(40)
    each = [metrics.auc(np.arange(40) == row, scores[row]) for row in range(40)]
    assert lesion.told_apart(scores, np.zeros(40)) == pytest.approx(each)
    diagnoses = np.arange(40) % 2
    spoiled = np.where(diagnoses[:, None] == diagnoses, scores, 99.0)
    assert (lesion.told_apart(spoiled, diagnoses) == lesion.told_apart(scores, diagnoses)).all()
    alone = np.r_[1, np.zeros(39)]
    assert lesion.told_apart(scores, alone)[0] == 0.5


def test_lesions_meet_with_each_of_their_photos_on_either_side():
    lesions = ["a", "b", "a", "c", "c", "c"]
    drawn = lesion.drawn_pairs(lesions, 40, 1)
    assert {tuple(pair) for pair in drawn[:, 0]} == {(0, 2), (2, 0)}
    assert {tuple(pair) for pair in drawn[:, 1]} == {(a, b) for a in (3, 4, 5) for b in (3, 4, 5) if a != b}
    assert lesion.drawn_pairs(["a", "b"], 3, 1).shape == (3, 0, 2)


def test_a_learned_distance_identifies_more_lesions():
    """Two photos of a lesion differ wildly in two numbers and hardly in the others."""
    rng = np.random.default_rng(3)

    def make(count):
        base = rng.normal(size=(count, 6))
        wild = np.array([20, 20, 0.1, 0.1, 0.1, 0.1])
        return [(base + rng.normal(size=base.shape) * wild).astype(np.float32) for _ in range(2)]

    own, (first, second) = tuple(make(400)), make(100)
    truth = np.arange(100)
    plain, apart, expected = (metrics.top_k(way, truth, 1).mean() for way in likeness.scores(second, first, 0.05, own))
    assert plain < 0.2
    assert min(apart, expected) > 0.8


def test_few_pairs_teach_a_distance_of_many_numbers():
    """Fewer pairs than numbers, as of a map of 200 numbers in a quick audit or among altered copies."""
    rng = np.random.default_rng(3)

    def make(count):
        base = rng.normal(size=(count, 200))
        return [(base + rng.normal(size=base.shape) * np.r_[[20.0] * 20, [1.5] * 180]).astype(np.float32) for _ in "ab"]

    own, (first, second) = tuple(make(80)), make(60)
    plain, *learned = (metrics.top_k(way, np.arange(60), 1).mean() for way in likeness.scores(second, first, 0.05, own))
    assert max(learned) > plain + 0.3


def test_what_differs_within_lesions_alone_is_not_compared():
    """Thirty of forty numbers say nothing of the lesion; ten do. A copy that is brighter differs by a constant, too."""
    rng = np.random.default_rng(4)

    def make(count, shift):
        base = rng.normal(size=(count, 40)) * np.r_[np.ones(10), np.zeros(30)]
        return [(base + rng.normal(0, 0.6, base.shape) + each).astype(np.float32) for each in (shift, 0.0)]

    for shift in (0.0, 2.0):
        own, (gallery, released) = tuple(make(400, shift)), make(100, shift)
        ways = likeness.scores(gallery, released, 0.1, own)
        plain, apart, expected = (metrics.top_k(way, np.arange(100), 1).mean() for way in ways)
        assert expected > 1.4 * max(plain, apart)


def test_attribute_probe():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 600)
    told = np.c_[labels + rng.normal(0, 0.5, 600), rng.normal(size=600)]
    untold = rng.normal(size=(600, 2))
    for features, low, high in ((told, 0.85, 1.0), (untold, 0.35, 0.65)):
        scores = attributes.probe(features[:400], labels[:400], features[400:], seed=1)
        assert low <= metrics.macro_auc(labels[400:], scores) <= high
    found = attributes.auc_of(labels[400:], scores)
    assert found.low < 0.5 + 0.1
    assert found.high > 0.5 - 0.1
    assert attributes.auc_gained(labels[400:], scores, scores) == metrics.Estimate(0.0, 0.0, 0.0)


def test_a_probe_that_did_not_converge_is_judged_by_what_it_finds(monkeypatch):
    """Where rounding keeps L-BFGS from its last step, scikit-learn warns, and here a warning is an error."""
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(attributes, "_probes", lambda _seed: [LogisticRegression(max_iter=1)])
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 600)
    features = rng.normal(size=(600, 9)) + labels[:, None]
    scores = attributes.probe(features[:400], labels[:400], features[400:], seed=1)
    assert metrics.macro_auc(labels[400:], scores) > 0.9


@pytest.mark.parametrize("told_by", ["trees", "answer"])
def test_a_long_release_is_probed_by_trees_and_beside_its_answer(told_by):
    """What no line through the components tells, and what stands in the answer alone."""
    rng = np.random.default_rng(5)
    release, answer = rng.normal(0, 1, (900, 120)), rng.normal(0, 0.05, 900)
    release[:, :2] *= 4
    labels = (release[:, 0] * release[:, 1] > 0 if told_by == "trees" else answer > 0).astype(np.int64)
    features = np.c_[release, answer]
    scores = attributes.probe(features[:600], labels[:600], features[600:], seed=1, beside=1)
    assert metrics.macro_auc(labels[600:], scores) > 0.8


@pytest.mark.parametrize("seed", [1, 2])
def test_a_release_that_tells_nothing_does_not_hide_the_answer_beside_it(seed):
    """A probe that reads both finds no less than the answer alone, however many numbers of noise it sees."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 4000)
    answer = 0.6 * labels + rng.normal(size=4000)
    noise = rng.normal(size=(4000, attributes.MAX_NUMBERS)) * np.linspace(3, 1, attributes.MAX_NUMBERS)
    features = np.c_[noise, answer]
    subjects = np.arange(2000) // 2
    scores = attributes.probe(features[:2000], labels[:2000], features[2000:], seed=1, beside=1, subjects=subjects)
    alone = metrics.macro_auc(labels[2000:], np.c_[-answer, answer][2000:])
    assert metrics.macro_auc(labels[2000:], scores) > alone - 0.005


def test_what_faint_components_tell_is_found():
    """Of a release without noise, whose largest components tell nothing."""
    rng = np.random.default_rng(1)
    release = rng.normal(size=(1500, 80)) * np.r_[np.full(10, 20.0), np.ones(50), np.full(20, 0.01)]
    told = release[:, 10:60] @ rng.normal(size=50) + rng.normal(size=1500)
    labels, features = (told > 0).astype(np.int64), np.c_[release, rng.normal(size=1500)]
    scores = attributes.probe(features[:1000], labels[:1000], features[1000:], seed=1, beside=1)
    assert metrics.macro_auc(labels[1000:], scores) > 0.95


def test_a_probe_is_chosen_on_subjects_that_it_did_not_learn_from():
    """Trees that know a subject's photos by heart are worth nothing on other people, where the answer alone tells."""
    rng = np.random.default_rng(3)
    subjects, labels = np.repeat(np.arange(250), 6), np.repeat(rng.integers(0, 2, 250), 6)
    release = np.repeat(rng.normal(size=(250, 4)), 6, axis=0) + rng.normal(0, 0.01, (1500, 4))
    mine = np.c_[release, 0.5 * labels + np.repeat(rng.normal(size=250), 6)]
    others = rng.integers(0, 2, 2000)
    theirs = np.c_[rng.normal(size=(2000, 4)), 0.5 * others + rng.normal(size=2000)]
    by_subject, by_photo = (
        metrics.macro_auc(others, attributes.probe(mine, labels, theirs, seed=1, beside=1, subjects=groups))
        for groups in (subjects, None)
    )
    assert by_subject > by_photo + 0.02


def test_observation_of_several_releases_is_their_mean():
    clean = np.zeros((400, 4), np.float32)
    surface = Surface("certified", SPEC)
    for releases in (1, 4, 16):
        spread = surface.observe(clean, seed=1, releases=releases).std()
        assert spread == pytest.approx(surface.sigma_of_mean(releases), rel=0.06)
    assert surface.sigma == pytest.approx(0.5)


def test_exact_noise_repeats_for_its_seed():
    assert (exact_noise(SPEC, (3, 4), 1) == exact_noise(SPEC, (3, 4), 1)).all()
    assert (exact_noise(SPEC, (3, 4), 1) != exact_noise(SPEC, (3, 4), 2)).any()


def test_no_noise_where_there_is_none():
    clean = np.ones((3, 4), np.float32)
    assert Surface("stem").observe(clean, seed=1) is clean


@pytest.mark.parametrize("numbers", [5, 60])
def test_ridge_coefficients_are_the_closed_form(numbers):
    """By either Gram matrix, the same answers as the attack's."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, numbers)).astype(np.float32)
    y = rng.normal(size=(30, 3)).astype(np.float32)
    seen = rng.normal(size=(4, numbers))
    answers = [linear(seen) for linear in ridge.solve(x, y, 0.1)]
    found = [seen @ weights + bias for weights, bias in ridge.coefficients(x, y, 0.1)]
    assert np.allclose(answers, found, atol=1e-4)
