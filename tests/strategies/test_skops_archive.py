"""Estimators as bytes: equal ones for equal fits, and what somebody put in their place is not run."""

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import skops.io
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from lightning_vision.errors import CheckpointError, ConfigError
from strategies.skops_archive import check_trees, pack, trees_in, unpack

D = 5
X: npt.NDArray[np.float32] = np.random.default_rng(0).random((30, D), dtype=np.float32)
Y: npt.NDArray[np.int64] = np.arange(30) % 3
MAKERS: dict[str, Callable[[], Any]] = {
    "forest": partial(RandomForestClassifier, 5, random_state=0),
    "boosting": partial(GradientBoostingClassifier, n_estimators=3, random_state=0),
    "logistic": LogisticRegression,
    "sgd": partial(SGDClassifier, loss="log_loss", random_state=0),
    "mlp": partial(MLPClassifier, max_iter=5, random_state=0),
}


class Private:
    """Cannot be kept."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("nobody may keep this")


class Loud:
    """Notes down whenever it is made."""

    made: ClassVar[list[int]] = []

    def __init__(self, number: int) -> None:
        self.made.append(number)
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return Loud, (self.number,)


def forest() -> Any:
    return MAKERS["forest"]().fit(X, Y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
class TestRoundTrip:
    @pytest.mark.parametrize("name", MAKERS)
    def test_it_predicts_the_same(self, name: str) -> None:
        fitted = MAKERS[name]().fit(X, Y)
        again = unpack(pack(fitted), type(fitted), D)
        np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))

    @pytest.mark.parametrize("name", MAKERS)
    def test_equal_fits_are_equal_bytes(self, name: str) -> None:
        """Though their objects lie elsewhere in memory."""
        one, other = MAKERS[name]().fit(X, Y), MAKERS[name]().fit(X.copy(), Y)
        assert pack(one) == pack(one) == pack(other)
        assert skops.io.dumps(one) != skops.io.dumps(other), "if skops does so itself, pack need not"
        assert pack(MAKERS[name]().fit(X[:20], Y[:20])) != pack(one)

    @pytest.mark.parametrize("name", ["sgd", "mlp"])
    def test_a_restored_strategy_ends_like_an_uninterrupted_one(self, name: str) -> None:
        whole = MAKERS[name]().partial_fit(X, Y, classes=np.unique(Y))
        again = unpack(pack(whole), type(whole), D)
        for each in (whole, again):
            each.partial_fit(X[5:], Y[5:])
        assert pack(again) == pack(whole)

    def test_in_another_process(self) -> None:
        program = (
            "import hashlib, numpy as np\n"
            "from sklearn.ensemble import RandomForestClassifier\n"
            "from strategies.skops_archive import pack\n"
            "x = np.random.default_rng(0).random((30, 5), dtype=np.float32)\n"
            "fitted = RandomForestClassifier(5, random_state=0).fit(x, np.arange(30) % 3)\n"
            "print(hashlib.md5(pack(fitted)).hexdigest())\n"
        )
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        assert found.strip() == hashlib.md5(pack(MAKERS["forest"]().fit(X, Y))).hexdigest()


class TestWhatIsRefused:
    def test_parts_that_skops_does_not_trust_are_not_kept(self) -> None:
        with pytest.raises(
            ConfigError,
            match=r"KNeighborsClassifier has parts .*_kd_tree\.KDTree\. .*algorithm: brute for KNeighborsClassifier\); otherwise use sklearn",
        ):
            pack(KNeighborsClassifier().fit(X, Y))
        assert pack(KNeighborsClassifier(algorithm="brute").fit(X, Y))

    def test_what_skops_cannot_keep(self) -> None:
        fitted = LogisticRegression().fit(X, Y)
        fitted.word = Private()
        with pytest.raises(
            ConfigError, match=r"skops cannot store LogisticRegression: nobody may keep this Use sklearn"
        ):
            pack(fitted)

    @pytest.mark.parametrize("whole", [True, False])
    def test_foreign_parts_in_an_archive_are_not_made(self, whole: bool) -> None:
        """As the estimator itself, or deep within one that is trusted."""
        fitted = forest()
        fitted.estimators_[0].note = Loud(1)
        data = skops.io.dumps(Loud(1) if whole else fitted)
        Loud.made.clear()
        with pytest.raises(CheckpointError, match=r"damaged, or has untrusted parts.*test_skops_archive\.Loud"):
            unpack(data, RandomForestClassifier, D)
        assert Loud.made == []
        skops.io.loads(data, trusted=["test_skops_archive.Loud", "sklearn.tree._tree.Tree"])
        assert Loud.made == [1], "the archive would have run it"

    def test_a_function_of_the_system(self) -> None:
        """An archive that names any function, in the place of the estimator's class."""
        with zipfile.ZipFile(io.BytesIO(pack(LogisticRegression().fit(X, Y)))) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        schema = json.loads(files["schema.json"])
        schema |= {"__module__": "os", "__class__": "abort", "__loader__": "ConstructorFromReduceNode"}
        forged = io.BytesIO()
        with zipfile.ZipFile(forged, "w") as archive:
            for name, content in (files | {"schema.json": json.dumps(schema).encode()}).items():
                archive.writestr(name, content)
        with pytest.raises(CheckpointError, match=r"untrusted parts, so it was not used: .*os\.abort"):
            unpack(forged.getvalue(), LogisticRegression, D)

    @pytest.mark.parametrize("keep", [0, 10, 200, -30])
    def test_half_an_archive(self, keep: int) -> None:
        with pytest.raises(CheckpointError, match=r"is damaged, or has untrusted parts"):
            unpack(pack(forest())[:keep], RandomForestClassifier, D)

    def test_a_changed_byte(self) -> None:
        data = bytearray(pack(forest()))
        data[100] ^= 1
        with pytest.raises(CheckpointError, match=r"is damaged, or has untrusted parts"):
            unpack(bytes(data), RandomForestClassifier, D)

    def test_another_estimator(self) -> None:
        with pytest.raises(
            CheckpointError, match=r"expected .* class RandomForestClassifier .* found LogisticRegression\."
        ):
            unpack(pack(LogisticRegression().fit(X, Y)), RandomForestClassifier, D)


class TestTrees:
    @pytest.mark.parametrize("name", ["forest", "boosting"])
    def test_all_are_found(self, name: str) -> None:
        fitted = MAKERS[name]().fit(X, Y)
        expected = {id(tree.tree_) for tree in np.ravel(fitted.estimators_)}
        assert {id(tree) for tree in trees_in({"some": [(fitted, fitted)]})} == expected and expected

    @pytest.mark.parametrize("options", [{}, {"max_leaf_nodes": 6}, {"ccp_alpha": 0.02}, {"max_depth": 1}])
    def test_grown_ones_are_sound(self, options: dict[str, Any]) -> None:
        check_trees(RandomForestClassifier(20, random_state=0, **options).fit(X, Y), D)
        check_trees(DecisionTreeClassifier().fit(X, np.zeros(30)), D)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("left_child", 10**6), "children that do not exist"),
            (("right_child", -7), "children that do not exist"),
            (("right_child", 0), "children that do not exist"),  # itself: round and round
            (("feature", D), f"features beyond the {D}"),
            (("feature", -3), f"features beyond the {D}"),
            (("node_count", 0), "declares 0 nodes"),
        ],
    )
    def test_forged_ones_are_not_followed(self, change: tuple[str, int], message: str) -> None:
        """skops sees a tree of the right type; to follow it would be to read anywhere in memory."""
        key, value = change
        fitted = forest()
        tree = fitted.estimators_[3].tree_
        state = tree.__getstate__()
        if key == "node_count":
            state[key] = value
        else:
            state["nodes"] = state["nodes"].copy()
            state["nodes"][key][0] = value
        forged = type(tree)(tree.n_features, tree.n_classes, tree.n_outputs)
        forged.__setstate__(state)
        fitted.estimators_[3].tree_ = forged
        with pytest.raises(CheckpointError, match=message):
            unpack(pack(fitted), RandomForestClassifier, D)

    def test_features_that_this_network_does_not_have(self) -> None:
        with pytest.raises(CheckpointError, match=r"beyond the 2 available ones"):
            unpack(pack(forest()), RandomForestClassifier, 2)
