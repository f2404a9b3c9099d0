"""The tests that every learning strategy should pass, as a class to inherit from."""

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
from lightning_vision.testing.tensors import copies_of, nearly_equal, tensors_in, untrained_names, variants_of
from lightning_vision.testing.trial import Run, Trial, dotted_path, small_base, test_batches, training_batches

ABOVE_CHANCE = 0.2


class StrategyConformance:
    """The tests of a learning strategy, in pytest: inherit, and name the strategy.

    .. code-block:: python

        class TestMine(StrategyConformance):
            strategy = "my_package.Mine"

    They take about ten seconds, on squares and a backbone of the kit's own, and need no files and no network. The first
    test on two ranks in a process takes seven seconds more, for the imports of theirs.
    """

    strategy: ClassVar[str | type[Strategy]]
    """The class, or its dotted path."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Of its constructor: limits that a tiny run reaches, such as a memory of 8 images."""
    arguments: ClassVar[Sequence[str]] = ()
    """Further options of the command line, such as another learning rate."""
    exempt: ClassVar[Mapping[str, str]] = {}
    """What the strategy cannot do by its nature: the name of a test without ``test_``, and the reason."""

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
                f"{cls.__name__}.strategy: {dotted_path(found)} cannot be imported, which a configuration must do. Define the "
                "class at the top of a module that is on Python's path."
            ) from error
        base = None if "head_may_grow" in cls.exempt else small_base(folders)
        return Trial(found, cls.options, folders.mktemp(found.__name__), base, cls.arguments)

    # ---- what it says ----------------------------------------------------------------------------------------------

    def test_docstring_cites_a_source(self) -> None:
        """Its own docstring says where it comes from."""
        if not SOURCE.search(self.trial.cls.__doc__ or ""):
            self._fail(
                "Its docstring cites no source. Expected an arXiv number, a DOI, an ISBN, an address, or an author and a year."
            )

    def test_declared_needs_are_true(self) -> None:
        """What it declares agrees with what it fills and does; the other tests run in the other scenarios that it names."""
        problems = list(untrue_of_class(self.trial.build()))
        if not problems:
            problems = list(untrue_of_run(self.trial, self._whole()))
        if "Joint" in self.trial.cls.scenarios and not self.trial.joint.ended_well:
            problems.append(f"It declares that it can learn in Joint, and did not:\n{self.trial.joint.last_words}")
        if problems:
            self._fail("\n".join(problems))

    # ---- what it learns --------------------------------------------------------------------------------------------

    def test_learns_something(self) -> None:
        """The images of an experience are classified better than by chance, once it is learned."""
        run = self.trial.whole
        if not run.ended_well:
            self._fail(f"A run in {run.scenario} did not come to its end:\n{run.last_words}")
        results, first = run.results, 0 if run.scenario == "Joint" else 1
        seen = [{c for e in results.experiences[: t + 1] for c in e.classes} for t in range(run.finished)]
        found = [results.accuracy_matrix[t][t] or 0.0 for t in range(first, run.finished)]
        chance = [1 / len(classes) for classes in seen[first:]]
        if np.mean(found) < np.mean(chance) + ABOVE_CHANCE:
            self._fail(
                f"Accuracy on what each experience brought, right after it: {found}; by chance {chance}. Does its loss reach the "
                "head, or its update what predict reads? `arguments` takes another learning rate, `options` weaker penalties."
            )

    def test_few_images(self) -> None:
        """An experience of two images, batches of one, no validation data (unless it needs some)."""
        run = self._few()
        if run.finished < 2:
            where = f"experience {run.finished}, of {(12, 2)[run.finished]} images"
            self._fail(f"With batches of a single image it did not come through {where}:\n{run.last_words}")
        self._check_finite(run, 1)

    def test_class_seen_again(self) -> None:
        """Images of a class that was learned two experiences ago."""
        run = self._few()
        if run.finished < 2:
            pytest.skip("The run did not come so far: see test_few_images.")
        if not run.ended_well:
            self._fail(f"Experience 2 brings a class of experience 0 again, and it did not learn it:\n{run.last_words}")
        self._check_finite(run, 2)

    def test_head_may_grow(self) -> None:
        """From a base that knows two of the four classes, with the rows of the new ones as they were drawn."""
        run = self._many()
        if not run.finished:
            self._fail(f"From a base checkpoint of two classes it could not learn four:\n{run.last_words}")
        self._check_finite(run, 0)

    def test_bf16(self) -> None:
        """In mixed precision it is about as good."""
        half = self.trial.half
        full = self.trial.joint if half.scenario == "Joint" else self._whole()
        if not full.ended_well:
            pytest.skip("Nor does it come to an end in float32: see test_declared_needs_are_true.")
        if not half.ended_well:
            self._fail(f"With trainer.precision=bf16-mixed it did not come to its end:\n{half.last_words}")
        self._check_finite(half, half.finished - 1)
        one, other = full.results.test_accuracy[-1] or 0.0, half.results.test_accuracy[-1] or 0.0
        if abs(one - other) > ABOVE_CHANCE:
            self._fail(
                f"Test accuracy is {one:.3f} in float32 and {other:.3f} in bf16-mixed. Keep sums in float32 or float64."
            )

    # ---- what it leaves alone --------------------------------------------------------------------------------------

    def test_frozen_weights_are_untouched(self) -> None:
        """What no stage trains is bit-identical after an increment, batch norm's running statistics included."""
        self._need("DomainIncremental")
        run = self.trial.domains
        if not run.ended_well:
            self._fail(f"In DomainIncremental, with batch norm, it did not come to its end:\n{run.last_words}")
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
                f"{len(moved)} tensors that it does not train changed in an increment, {moved[0]} among them. Train them "
                "(parameters_to_train), or leave them alone: no .data, no running statistics, no train() on frozen modules."
            )

    def test_inputs_are_not_mutated(self) -> None:
        """Images, labels and features that a hook is given are as they were when it is done."""
        run = self._whole()
        last = run.finished - 1
        model, data = self.trial.load(run, last - 1)
        experience = data.stream[last]
        model.begin_experience(experience)
        strategy, network = model.strategy, model.network
        batches = training_batches(model, data, last)
        features = torch.cat([network.features(batch).detach() for batch in batches])
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
            self._fail(
                f"{hook} changes {names[0]} in place, which others read after it. Work on a copy: no += and no x_()."
            )

    def test_evaluation_changes_nothing(self) -> None:
        """To predict twice gives the same twice, and leaves weights, state and modes as they were."""
        run = self._whole()
        model, data = self.trial.load(run, run.finished - 1)
        batch = test_batches(model, data)[0]
        before = {name: value.clone() for name, value in model.state_dict().items()}
        modes = [module.training for module in model.network.modules()]
        with torch.inference_mode():
            first, second = (variants_of(model.predict_logits(batch)) for _ in range(2))
        if names := differing(before, model.state_dict()):
            self._fail(
                f"predict changes {', '.join(names[:3])}. Evaluation may come at any time: learn in the other hooks."
            )
        if modes != [module.training for module in model.network.modules()]:
            self._fail("predict leaves the network in another mode. Leave train() and eval() to the core.")
        if differing(first, second):
            self._fail(
                "predict gives other logits for the same features the second time. It may neither draw nor count."
            )

    def test_memory_is_bounded(self) -> None:
        """What it keeps does not grow with the number of experiences."""
        run = self._many()
        if not run.ended_well:
            pytest.skip("The run did not end: see test_head_may_grow.")
        sizes = [
            {k: v.numel() * v.element_size() for k, v in run.state(t).items() if k.startswith("strategy.")}
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
                f"Its state grows with each experience: {', '.join(grown)}. Limit it; set `options` to a limit that a tiny run "
                "reaches; or say why it must grow in `exempt`: {'memory_is_bounded': reason}."
            )

    # ---- what it keeps ---------------------------------------------------------------------------------------------

    def test_state_survives_a_checkpoint(self) -> None:
        """A new strategy that reads the last checkpoint predicts what the run did."""
        run = self._whole()
        model, data = self.trial.load(run, run.finished - 1)
        if names := differing(run.state(run.finished - 1), model.state_dict()):
            self._fail(
                f"{', '.join(names[:3])}: not as saved once it is loaded. What must survive is a registered buffer."
            )
        with torch.inference_mode():
            logits = torch.cat([model(batch["image"]) for batch in test_batches(model, data)]).float()
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        then = {name: torch.from_numpy(run.predictions[name][-1]) for name in ("predicted", "confidence")}
        close = torch.allclose(confidence, then["confidence"].float(), atol=1e-4)
        if not (torch.equal(predicted, then["predicted"].long()) and close):
            self._fail(
                "Read from its checkpoint it predicts otherwise than in the run. What predict reads must be a registered buffer "
                "(register_buffer, of any shape, None at first): attributes of other kinds are lost."
            )

    def test_resumes_after_an_experience(self) -> None:
        """Killed after experience 1 and resumed, a run ends as if it had not been killed."""
        self._check_resumed(self.trial.between, "after experience 1")

    def test_resumes_within_an_experience(self) -> None:
        """Killed within experience 2 and resumed, a run ends as if it had not been killed."""
        self._check_resumed(self.trial.within, "in the midst of experience 2")

    def _check_resumed(self, run: Run | None, when: str) -> None:
        whole = self._whole()
        if run is None:
            pytest.skip(f"{whole.scenario} has no experience 2 with several batches to be stopped in.")
        if not run.ended_well:
            self._fail(f"Stopped {when} it could not go on (--ckpt_path last):\n{run.last_words}")
        last = whole.finished - 1
        if names := differing(whole.state(last), run.state(last)):
            self._fail(
                f"Stopped {when} and resumed, the run ends with another {', '.join(names[:3])} ({len(names)} in all). What "
                "the next step depends on must be a registered buffer, and random numbers must come from torch, NumPy or random."
            )
        if without_measurements(whole.results) != without_measurements(run.results):
            self._fail(f"Stopped {when} and resumed, the run ends with the same weights and other figures.")

    def test_seeds_differ(self) -> None:
        """Two seeds make different classifiers of one base, unless the strategy declares that it draws nothing."""
        whole = self._whole()
        if whole.scenario == "Joint":
            pytest.skip("It learns in Joint alone, where two seeds differ by their initial weights.")
        run, nothing = self.trial.reseeded, self.trial.build().draws_nothing
        if not run.ended_well:
            self._fail(f"From a base of its own kind, with another seed, it did not come to its end:\n{run.last_words}")
        # Rounding differs from run to run, for the way through the backbone is chosen by its pace.
        one, other = ({"confidence": torch.from_numpy(each.predictions["confidence"][1])} for each in (whole, run))
        one, other = (
            found | {name: value for name, value in each.state(1).items() if name.startswith(("network.", "strategy."))}
            for found, each in ((one, whole), (other, run))
        )
        apart = [name for name in one if name not in other or not nearly_equal(one[name], other[name])]
        if apart and nothing:
            self._fail(
                f"It declares draws_nothing, and two seeds make another {', '.join(apart[:3])} of one base and stream. Take it out."
            )
        if not apart and not nothing:
            self._fail(
                "Two seeds make the same of one base. Where it has a generator of its own, seed that by self.draw_seed(name): a "
                "comparison over seeds would otherwise look more certain than it is (and leave a seed that pins it out of the "
                "kit's `options`). Where nothing in it is random, declare draws_nothing = True."
            )

    def test_two_ranks_do_what_one_does(self) -> None:
        """With half of each batch on each of two ranks weights, state and figures are those of one process."""
        whole, run = self._whole(), self.trial.ranks
        if not run.ended_well:
            self._fail(
                f"On two ranks it did not come to its end:\n{run.last_words}\nReduce once, after the loop over batches: ranks may "
                "have different numbers of them, or none."
            )
        one, two = whole.state(whole.finished - 1), run.state(run.finished - 1)
        apart = [name for name in one if name not in two or not nearly_equal(one[name], two[name])]
        if apart:
            self._fail(
                f"On two ranks it ends with another {', '.join(apart[:3])} ({len(apart)} in all) than on one. The batches of "
                "after_experience are striped over the ranks: sum with self.reduce. A loss is a mean over the batch's images."
            )
        confidence = [torch.from_numpy(each.predictions["confidence"]) for each in (whole, run)]
        if whole.results.test.confusion_matrix != run.results.test.confusion_matrix or not nearly_equal(*confidence):
            self._fail("On two ranks it ends with the weights of one, and predicts otherwise.")

    # ---- how -------------------------------------------------------------------------------------------------------

    def _whole(self) -> Run:
        if not self.trial.whole.ended_well:
            pytest.skip("The run did not end: see test_learns_something.")
        return self.trial.whole

    def _few(self) -> Run:
        self._need("FromColumn")
        return self.trial.few

    def _many(self) -> Run:
        self._need("InstanceIncremental")
        return self.trial.many

    def _need(self, scenario: str) -> None:
        if scenario not in self.trial.cls.scenarios:
            pytest.skip(f"It declares that it cannot learn in {scenario}, which this test takes.")

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
