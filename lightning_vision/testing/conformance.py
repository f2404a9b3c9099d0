"""The tests of learning strategies, as a class to inherit from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any, ClassVar, NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_vision.learning.strategy import Strategy
from lightning_vision.results.schema import without_measurements
from lightning_vision.testing.declarations import (
    SOURCE,
    differing,
    trained_names,
    untrue_of_class,
    untrue_of_run,
)
from lightning_vision.testing.graft_tests import GraftTests, is_kept
from lightning_vision.testing.parameter_tests import ParameterTests
from lightning_vision.testing.tensors import ROUNDING, copies_of, nearly_equal, tensors_in, untrained_names, variants_of
from lightning_vision.testing.trial import Run, Trial, dotted_path, small_base, test_batches, training_batches

ABOVE_CHANCE = 0.2


class StrategyConformance(ParameterTests, GraftTests):
    """The tests of a learning strategy for pytest. Inherit from it and set ``strategy``.

    .. code-block:: python

        class TestMine(StrategyConformance):
            strategy = "my_package.Mine"

    They take about ten seconds, use generated images and a tiny backbone, and need no files and no network. The first
    test on two ranks in a process takes seven seconds more for imports.
    """

    strategy: ClassVar[str | type[Strategy]]
    """The class, or its dotted path."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Options of the constructor, such as a memory of 8 images, so that a tiny run reaches the limit."""
    arguments: ClassVar[Sequence[str]] = ()
    """Further options of the command line, such as another learning rate."""
    exempt: ClassVar[Mapping[str, str]] = {}
    """Requirements that the strategy cannot meet: the name of a test without ``test_``, and the reason."""

    trial: Trial
    """The strategy and its runs."""

    @pytest.fixture(autouse=True)
    def _make_trial(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
        """One trial a class."""
        cls = type(self)
        if "trial" not in vars(cls):
            cls.trial = cls.make_trial(tmp_path_factory)
        if reason := cls.exempt.get(request.function.__name__.removeprefix("test_")):
            pytest.skip(reason)

    @classmethod
    def make_trial(cls, folders: pytest.TempPathFactory) -> Trial:
        """The trial of the strategy that the class names.

        Raises:
            TypeError: It is no learning strategy.
            ValueError: A configuration could not name it, or the class is exempt from a test that there is not.
        """
        if unknown := [name for name in cls.exempt if not hasattr(cls, f"test_{name}")]:
            tests = ", ".join(name.removeprefix("test_") for name in dir(cls) if name.startswith("test_"))
            raise ValueError(f"{cls.__name__}.exempt: there is no {unknown[0]!r}; expected some of {tests}.")
        found = resolve_name(cls.strategy) if isinstance(cls.strategy, str) else cls.strategy
        if not (isinstance(found, type) and issubclass(found, Strategy)):
            raise TypeError(
                f"{cls.__name__}.strategy: expected a subclass of lightning_vision.Strategy, found {found!r}."
            )
        try:
            resolve_name(dotted_path(found))
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{cls.__name__}.strategy: {dotted_path(found)} cannot be imported, as a configuration does. Define "
                "the class at the top level of a module on Python's path."
            ) from error
        base = None if "head_may_grow" in cls.exempt else small_base(folders, cls.needs_vit)
        return Trial(found, cls.options, folders.mktemp(found.__name__), base, cls.arguments, cls.needs_vit)

    # ---- what it says ----------------------------------------------------------------------------------------------

    def test_docstring_cites_a_source(self) -> None:
        """The docstring cites a source."""
        if not SOURCE.search(self.trial.cls.__doc__ or ""):
            self._fail(
                "The docstring cites no source. Expected an arXiv number, a DOI, an ISBN, a URL, or an author and a "
                "year."
            )

    def test_declared_needs_are_true(self) -> None:
        """What it declares agrees with what it fills and does; the other tests run in the other scenarios that it names."""
        problems = list(untrue_of_class(self.trial.build()))
        if not problems:
            problems = list(untrue_of_run(self.trial, self._whole()))
        if "Joint" in self.trial.cls.scenarios and not self.trial.joint.ended_well:
            problems.append(f"It declares the scenario Joint, but the run failed:\n{self.trial.joint.last_words}")
        if problems:
            self._fail("\n".join(problems))

    # ---- what it learns --------------------------------------------------------------------------------------------

    def test_learns_something(self) -> None:
        """After an experience the accuracy on its classes is better than chance."""
        run = self.trial.whole
        if not run.ended_well:
            self._fail(f"A run in {run.scenario} failed:\n{run.last_words}")
        results, first = run.results, 0 if run.scenario == "Joint" else 1
        seen = [{c for e in results.experiences[: t + 1] for c in e.classes} for t in range(run.finished)]
        found = [results.accuracy_matrix[t][t] or 0.0 for t in range(first, run.finished)]
        chance = [1 / len(classes) for classes in seen[first:]]
        if np.mean(found) < np.mean(chance) + ABOVE_CHANCE:
            self._fail(
                f"Accuracy on the classes of each experience, directly after it: {found}; chance is {chance}. Does the "
                "loss depend on the head, or does update change what predict reads? Set another learning rate in "
                "`arguments`, or weaker penalties in `options`."
            )

    def test_few_images(self) -> None:
        """An experience of two images, batches of one, no validation data (unless it needs some)."""
        run = self._few()
        if run.finished < 2:
            where = f"experience {run.finished}, of {(12, 2)[run.finished]} images"
            self._fail(f"With batches of a single image the run failed in {where}:\n{run.last_words}")
        self._check_finite(run, 1)

    def test_class_seen_again(self) -> None:
        """Images of a class that was learned two experiences ago."""
        run = self._few()
        if run.finished < 2:
            pytest.skip("The run failed earlier: see test_few_images.")
        if not run.ended_well:
            self._fail(f"Experience 2 contains a class of experience 0 again, and the run failed:\n{run.last_words}")
        self._check_finite(run, 2)

    def test_head_may_grow(self) -> None:
        """From a base that knows two of the four classes, with the rows of the new ones as they were drawn."""
        run = self._many()
        if not run.finished:
            self._fail(f"A run with four classes from a base checkpoint of two classes failed:\n{run.last_words}")
        self._check_finite(run, 0)

    def test_bf16(self) -> None:
        """Mixed precision gives about the same accuracy."""
        half = self.trial.half
        full = self.trial.joint if half.scenario == "Joint" else self._whole()
        if not full.ended_well:
            pytest.skip("The run fails in float32 too: see test_declared_needs_are_true.")
        if not half.ended_well:
            self._fail(f"With trainer.precision=bf16-mixed the run failed:\n{half.last_words}")
        self._check_finite(half, half.finished - 1)
        one, other = full.results.test_accuracy[-1] or 0.0, half.results.test_accuracy[-1] or 0.0
        if abs(one - other) > ABOVE_CHANCE:
            self._fail(
                f"Test accuracy is {one:.3f} in float32 and {other:.3f} in bf16-mixed. Compute sums in float32 or "
                "float64."
            )

    # ---- what it leaves alone --------------------------------------------------------------------------------------

    def test_frozen_weights_are_untouched(self) -> None:
        """What no stage trains, including running statistics, is bitwise equal after an increment."""
        self._need("DomainIncremental")
        run = self.trial.domains
        if not run.ended_well:
            self._fail(f"In DomainIncremental, with batch norm, the run failed:\n{run.last_words}")
        trial = self.trial
        model, _ = trial.load(run, 1)
        if trial.build().kind == "closed_form":
            frozen = {f"network.backbone.{name}" for name in model.network.backbone.state_dict()}
        else:
            trained = trained_names(trial, run, 1)
            model.network.requires_grad_(False)
            for name, parameter in model.network.named_parameters():
                parameter.requires_grad_(name in trained)
            frozen = set(untrained_names(model))
        before, after = run.state(0), run.state(1)
        moved = sorted(name for name in frozen if not torch.equal(before[name], after[name]))
        if moved:
            self._fail(
                f"{len(moved)} tensors that it does not train changed in an increment, including {moved[0]}. Train "
                "them (parameters_to_train), or do not change them: no .data, no running statistics, no train() on "
                "frozen modules."
            )

    def test_inputs_are_not_mutated(self) -> None:
        """Hooks do not change their images, labels and features."""
        run = self._whole()
        last = run.finished - 1
        model, data = self.trial.load(run, last - 1)
        experience = data.stream[last]
        model.begin_experience(experience)
        strategy, network = model.strategy, model.network
        batches = training_batches(model, data, last)
        features = torch.cat([strategy.features(network, batch["image"]).detach() for batch in batches])
        labels = torch.cat([batch["label"] for batch in batches])
        given: dict[str, Any] = {"features": features, "labels": labels, "batch": batches}
        before = copies_of(given)
        with torch.no_grad():
            strategy.predict(network, features)
        self._check_unchanged("predict", given, before)
        if strategy.kind == "closed_form":
            with torch.no_grad():
                strategy.update(network, features, labels)
            self._check_unchanged("update", given, before)
        else:
            model.begin_stage(strategy.stages(experience)[-1])
            strategy.loss(network, batches[0]).backward()  # type: ignore[no-untyped-call]
            self._check_unchanged("loss", given, before)
        network.eval()
        strategy.after_experience(network, experience, batches)
        self._check_unchanged("after_experience", given, before)

    def _check_unchanged(self, hook: str, given: Mapping[str, Any], before: Mapping[str, Tensor]) -> None:
        if names := differing(before, dict(tensors_in(given))):
            self._fail(f"{hook} changes {names[0]} in place, which is used later. Work on a copy: no += and no x_().")

    def test_evaluation_changes_nothing(self) -> None:
        """Predicting twice gives equal results and changes neither weights nor state nor modes."""
        run = self._whole()
        model, data = self.trial.load(run, run.finished - 1)
        batch = test_batches(model, data)[0]
        before = {name: value.clone() for name, value in model.state_dict().items()}
        modes = [module.training for module in model.network.modules()]
        with torch.inference_mode():
            first, second = (variants_of(model.predict_logits(batch)) for _ in range(2))
        if names := differing(before, model.state_dict()):
            self._fail(
                f"predict changes {', '.join(names[:3])}. Evaluation may occur at any time. Learn in the other hooks."
            )
        if modes != [module.training for module in model.network.modules()]:
            self._fail("predict changes the mode of the network. Do not call train() or eval(); the core does.")
        if differing(first, second):
            self._fail(
                "predict returns different logits for the same features in a second call. It must not use random "
                "numbers or counters."
            )

    def test_memory_is_bounded(self) -> None:
        """The state does not grow with the number of experiences."""
        run = self._many()
        if not run.ended_well:
            pytest.skip("The run failed: see test_head_may_grow.")
        sizes = [
            {k: v.numel() * v.element_size() for k, v in run.state(t).items() if is_kept(k)}
            for t in range(run.finished)
        ]
        early, late = sizes[-3], sizes[-1]
        if sum(late.values()) > sum(early.values()):
            grown = [
                f"{name} ({early.get(name, 0)} -> {size} bytes)"
                for name, size in late.items()
                if size > early.get(name, 0)
            ]
            self._fail(
                f"The state grows with each experience: {', '.join(grown)}. Limit it, set `options` to a limit that a "
                "tiny run reaches, or give the reason in `exempt`: {'memory_is_bounded': reason}."
            )

    # ---- what it keeps ---------------------------------------------------------------------------------------------

    def test_state_survives_a_checkpoint(self) -> None:
        """A new strategy that loads the last checkpoint makes the same predictions."""
        run = self._whole()
        model, data = self.trial.load(run, run.finished - 1)
        if names := differing(run.state(run.finished - 1), model.state_dict()):
            self._fail(
                f"{', '.join(names[:3])}: different from the saved value after loading. State that must survive must "
                "be a registered buffer."
            )
        with torch.inference_mode():
            logits = torch.cat([model(batch["image"]) for batch in test_batches(model, data)]).float()
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        then = {name: torch.from_numpy(run.predictions[name][-1]) for name in ("predicted", "confidence")}
        close = torch.allclose(confidence, then["confidence"].float(), atol=1e-4)
        if not (torch.equal(predicted, then["predicted"].long()) and close):
            self._fail(
                "After loading its checkpoint, predictions differ from those in the run. What predict reads must be a "
                "registered buffer (register_buffer, of any shape, None at first). Other attributes are lost."
            )

    def test_resumes_after_an_experience(self) -> None:
        """A run that is killed after experience 1 and resumed ends like an uninterrupted run."""
        self._check_resumed(self.trial.between, "after experience 1")

    def test_resumes_within_an_experience(self) -> None:
        """A run that is killed in the middle of experience 2 and resumed ends like an uninterrupted run."""
        self._check_resumed(self.trial.within, "in the middle of experience 2")

    def _check_resumed(self, run: Run | None, when: str) -> None:
        whole = self._whole()
        if run is None:
            pytest.skip(
                f"{whole.scenario} has no experience 2 with several batches, in which the run could be stopped."
            )
        if not run.ended_well:
            self._fail(f"Stopped {when}, the run could not resume (--ckpt_path last):\n{run.last_words}")
        last = whole.finished - 1
        if names := differing(whole.state(last), run.state(last)):
            self._fail(
                f"Stopped {when} and resumed, the run ends with different values of {', '.join(names[:3])} "
                f"({len(names)} in total). State that the next step depends on must be a registered buffer, and random "
                "numbers must come from torch, NumPy or random."
            )
        if without_measurements(whole.results) != without_measurements(run.results):
            self._fail(f"Stopped {when} and resumed, the run ends with the same weights but different figures.")

    def test_seeds_differ(self) -> None:
        """Two seeds give different classifiers from one base, unless the strategy declares ``draws_nothing``."""
        whole = self._whole()
        if whole.scenario == "Joint":
            pytest.skip("It only supports Joint, where two seeds differ in their initial weights.")
        run, nothing = self.trial.reseeded, self.trial.build().draws_nothing
        if not run.ended_well:
            self._fail(f"From a base of the same strategy, with another seed, the run failed:\n{run.last_words}")
        # Rounding differs from run to run, for the way through the backbone is chosen by its pace.
        one, other = ({"confidence": torch.from_numpy(each.predictions["confidence"][1])} for each in (whole, run))
        one, other = (
            found | {name: value for name, value in each.state(1).items() if name.startswith(("network.", "strategy."))}
            for found, each in ((one, whole), (other, run))
        )
        apart = [name for name in one if name not in other or not nearly_equal(one[name], other[name])]
        if apart and nothing:
            self._fail(
                f"It declares draws_nothing, but two seeds give different values of {', '.join(apart[:3])} with one "
                "base and stream. Remove the declaration."
            )
        if not apart and not nothing:
            self._fail(
                "Two seeds give the same result from one base. If it has its own generator, seed it with "
                "self.draw_seed(name); otherwise a comparison over seeds underestimates the variance. Do not set a "
                "fixed seed in the kit's `options`. If nothing in it is random, declare draws_nothing = True."
            )

    def test_two_ranks_do_what_one_does(self) -> None:
        """With half of each batch on each of two ranks weights, state and figures are those of one process."""
        whole, run = self._whole(), self.trial.ranks
        if not run.ended_well:
            self._fail(
                f"On two ranks the run failed:\n{run.last_words}\nReduce once, after the loop over batches, because "
                "ranks may have different numbers of them, or none."
            )
        one, two = whole.state(whole.finished - 1), run.state(run.finished - 1)
        apart = [name for name in one if name not in two or not nearly_equal(one[name], two[name])]
        if apart:
            self._fail(
                f"On two ranks it ends with different values of {', '.join(apart[:3])} ({len(apart)} in total) than on "
                "one. The batches of after_experience are distributed over the ranks, so sum with self.reduce. A loss "
                f"is a mean over the batch's images. {ROUNDING}"
            )
        confidence = [torch.from_numpy(each.predictions["confidence"]) for each in (whole, run)]
        if whole.results.test.confusion_matrix != run.results.test.confusion_matrix or not nearly_equal(*confidence):
            self._fail(f"On two ranks it ends with the weights of one, but with different predictions. {ROUNDING}")

    # ---- how -------------------------------------------------------------------------------------------------------

    def _whole(self) -> Run:
        if not self.trial.whole.ended_well:
            pytest.skip("The run failed: see test_learns_something.")
        return self.trial.whole

    def _few(self) -> Run:
        self._need("FromColumn")
        return self.trial.few

    def _many(self) -> Run:
        self._need("InstanceIncremental")
        return self.trial.many

    def _need(self, scenario: str) -> None:
        if scenario not in self.trial.cls.scenarios:
            pytest.skip(f"It does not support {scenario}, which this test uses.")

    def _check_finite(self, run: Run, experience: int) -> None:
        """After an experience, weights and the logits of the classes seen are numbers."""
        model, data = self.trial.load(run, experience)
        bad = [name for name, value in model.network.state_dict().items() if not torch.isfinite(value).all()]
        if bad:
            self._fail(f"After experience {experience} {bad[0]} is not finite.")
        with torch.inference_mode():
            logits = [variants_of(model.predict_logits(batch)) for batch in test_batches(model, data)]
        for each in logits:
            for name, value in each.items():
                if not torch.isfinite(value[:, model.network.seen]).all():
                    which = f" of variant {name}" if name else ""
                    self._fail(
                        f"After experience {experience} the logits{which} of classes that were seen are not finite."
                    )

    def _fail(self, text: str) -> NoReturn:
        pytest.fail(f"{self.trial.cls.__name__}: {text}", pytrace=False)
