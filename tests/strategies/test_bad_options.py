"""What each learning strategy says of options, data and features that it cannot work with."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from coloured_squares import ColouredSquares
from command_line import checkpoint_of, fit, start
from feature_clouds import bare_network, clouds, learn, logits

import strategies
from lightning_vision import Strategy
from lightning_vision.errors import ConfigError, TrainingError
from strategies import (
    ACIL,
    AGEM,
    DSAL,
    EWC,
    KLDA,
    SLCA,
    DarkExperienceReplay,
    FeCAM,
    LinearProbeThenFineTune,
    LwF,
    MoveToData,
    NearestMean,
    RanPAC,
    Replay,
    SklearnHead,
    StreamingLDA,
    SynapticIntelligence,
)

EXPERIENCE = ColouredSquares().stream[0]
NAN = float("nan")
CLOSED_FORMS = sorted(name for name in strategies.__all__ if getattr(strategies, name).kind == "closed_form")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MoveToData(-1e-5), r"MoveToData: expected 0 <= epsilon <= 1, passes >= 1; found -1e-05, 1\."),
        (lambda: MoveToData([1e-3, -1e-3]), r"MoveToData: .*; found \[0\.001, -0\.001\], 1\."),
        (lambda: MoveToData([]), r"MoveToData: .*; found \[\], 1\."),
        (lambda: MoveToData(NAN), r"MoveToData: .*; found nan, 1\."),
        (lambda: MoveToData(1e-3, passes=0), r"MoveToData: .*; found 0\.001, 0\."),
        (lambda: NearestMean(temperature=0.0), r"NearestMean: expected .* a temperature above 0; found 'cosine', 0\.0\."),
        (lambda: NearestMean("manhattan"), r"NearestMean: expected metric cosine or euclidean .* found 'manhattan'"),  # type: ignore[arg-type]
        (lambda: StreamingLDA(-0.1), r"StreamingLDA: expected a shrinkage from 0 to 1 .*, found -0\.1\."),
        (lambda: RanPAC(0), r"RanPAC: expected projections >= 1 .* and ridge > 0 .*; found 0, None\."),
        (lambda: RanPAC(ridge=0.0), r"RanPAC: expected .* ridge > 0 \(or null for automatic selection\); found 2000, 0\.0\."),
        (lambda: ACIL(0), r"ACIL: expected expansion >= 1 and gamma > 0; found 0, 0\.1\."),
        (lambda: ACIL(gamma=NAN), r"ACIL: expected expansion >= 1 and gamma > 0; found 8192, nan\."),
        (lambda: DSAL(gamma=0.0), r"DSAL: expected expansion >= 1 and gamma > 0; found 8192, 0\.0\."),
        (lambda: DSAL(compensation=-1.0), r"DSAL: expected compensation >= 0 and gamma_comp > 0; found -1\.0, 0\.1\."),
        (lambda: KLDA(gamma=0.0), r"KLDA: expected expansion >= 1 and gamma > 0; found 2000, 0\.0\."),
        (lambda: AGEM(0), r"AGEM: expected memory_size >= 1, found 0\."),
        (lambda: FeCAM(tukey=0.0), r"FeCAM: expected 0 < tukey <= 1, .*; found 0\.0, 3\.0, 3\.0\."),
        (lambda: FeCAM(gamma1=-1.0), r"FeCAM: expected .* gamma1 >= 0, gamma2 >= 0; found 0\.5, -1\.0, 3\.0\."),
        (lambda: SklearnHead("sklearn.svm.LinearSVC"), r"LinearSVC has no predict_proba .* Use sklearn\.ensemble\.RandomF"),
        (lambda: SklearnHead(estimator_args={"n_estimators": 0}), r"'n_estimators' .* must be an int .* Got 0 instead"),
        (lambda: Replay(0), r"Replay: expected memory_size >= 1, found 0\."),
        (lambda: Replay(per_class=0), r"Replay: expected per_class >= 1, found 0\."),
        (lambda: Replay(memory_weight=2.0), r"Replay: expected 0 <= memory_weight <= 1, found 2\.0\."),
        (lambda: Replay(selection="best"), r"Expected selection reservoir or class_balanced, found 'best'\."),  # type: ignore[arg-type]
        (lambda: DarkExperienceReplay(alpha=-1.0), r"DarkExperienceReplay: expected alpha >= 0 and beta >= 0, found -1\.0"),
        (lambda: EWC(-1.0), r"EWC: expected ewc_lambda >= 0, found -1\.0\."),
        (lambda: EWC(mode="online", gamma=2.0), r"EWC: expected mode separate, or online with 0 <= gamma <= 1; found 'online'"),
        (lambda: EWC(fisher_samples=0), r"EWC: expected fisher_samples >= 1 or null, found 0\."),
        (lambda: SynapticIntelligence(c=-1.0), r"SynapticIntelligence: expected c >= 0 and xi > 0, found c = -1\.0"),
        (lambda: LwF(temperature=0.0), r"LwF: expected alpha >= 0 and temperature > 0, found .* and 0\.0\."),
        (lambda: SLCA(alignment_lr=0.0), r"SLCA: expected .* alignment_lr > 0 and tau > 0; found "),
        (lambda: LinearProbeThenFineTune(-1.0), r"LinearProbeThenFineTune: expected fine_tune_lr >= 0 or null, found -1\.0"),
    ],
)  # fmt: skip
def test_options_out_of_range(make: Callable[[], Strategy], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_move_to_data_cannot_learn_the_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no rows to move yet: said before anything is trained."""
    assert start(tmp_path, "run", "--model.base_strategy=MoveToData") == 2
    assert (
        "it cannot learn the base. Give a strategy that trains as model.base_strategy: HeadOnly"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("kind", [Replay, DarkExperienceReplay, AGEM])
def test_a_memory_below_the_number_of_classes(kind: type[Replay]) -> None:
    """Before anything is trained; a reservoir makes no promise to any class."""
    network = bare_network(classes=4)
    message = rf"{kind.__name__}: .* memory_size of 3 is smaller than the number of classes, 4\. Expected 4 or more, or selection"
    with pytest.raises(ConfigError, match=message):
        kind(memory_size=3, selection="class_balanced").check_network(network)
    kind(memory_size=3).check_network(network)


class TestFewerImagesThanFeatures:
    FEATURES, LABELS = clouds(classes=3, per_class=4, dimensions=40)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: StreamingLDA(0.0), r"covariance of 40 features is singular: 12 image\(s\) .* a larger shrinkage \(1e-4"),
            (lambda: FeCAM(gamma1=0.0), r"covariance of 40 features is singular: a class has 4 image\(s\)\. .* larger gamma1"),
            (lambda: RanPAC(50, ridge=1e-30), r"RanPAC: ridge 1e-30 is too small .* Expected \S+ or more, or null"),
        ],
    )  # fmt: skip
    def test_without_regularisation(self, make: Callable[[], Strategy], message: str) -> None:
        """Said with what to do, not computed with what rounding left."""
        with pytest.raises(ConfigError, match=message):
            strategy = make()
            learn(strategy, bare_network(3, 40), self.FEATURES, self.LABELS, EXPERIENCE)
            logits(strategy, bare_network(3, 40), self.FEATURES)

    @pytest.mark.parametrize("name", [name for name in CLOSED_FORMS if name != "MoveToData"])
    def test_the_defaults_can_do_with_them(self, name: str) -> None:
        # The defaults but for the published size of the expansion, which takes a gigabyte.
        strategy: Strategy = getattr(strategies, name)(**({"expansion": 300} if name in ("ACIL", "DSAL") else {}))
        learn(strategy, bare_network(3, 40), self.FEATURES, self.LABELS, EXPERIENCE)
        found = logits(strategy, bare_network(3, 40), self.FEATURES)
        assert found.isfinite().all() and torch.equal(found.argmax(dim=1), self.LABELS)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base checkpoint with a weight of the backbone that is no number, nor is any feature then."""
    folder = tmp_path_factory.mktemp("spoilt")
    checkpoint = checkpoint_of(fit(folder, "base", "--data.stream=Joint"))
    state = checkpoint["state_dict"]
    weight = state[next(key for key in state if key.startswith("network.backbone."))]
    weight[(0,) * weight.dim()] = NAN
    torch.save(checkpoint, folder / "spoilt.ckpt")
    return folder / "spoilt.ckpt"


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_nothing_is_learned_from_features_that_are_no_numbers(
    name: str, spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        start(tmp_path, name, f"--model.strategy={name}", f"--model.base_checkpoint={spoilt}")
        == TrainingError.exit_code
    )
    assert re.search(r"features .*not finite.* learned from them", capsys.readouterr().err)
    assert not (tmp_path / name / "checkpoints" / "experience=0001.ckpt").exists()
