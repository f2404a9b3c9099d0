"""StreamingLDA and FeCAM against Avalanche's, fed with the same features in the same order."""

import pytest
import torch
from coloured_squares import ColouredSquares
from feature_clouds import bare_network, clouds, learn, logits
from torch import nn

from strategies.fecam import FeCAM
from strategies.streaming_lda import StreamingLDA

EXPERIENCE = ColouredSquares().stream[0]


@pytest.mark.filterwarnings("ignore")
def test_equal_to_avalanche() -> None:
    # Imported here: it takes some 9 s, and collecting the tests should not. One test, so that it is loaded once.
    from avalanche.models import FeCAMClassifier
    from avalanche.models.fecam import compute_covariance, compute_means
    from avalanche.training import StreamingLDA as Theirs

    features, labels = clouds(classes=4, per_class=75, dimensions=16)
    network, x = bare_network(4, 16), clouds(classes=4, dimensions=16, seed=1)[0]

    for shrinkage in (1e-4, 1e-2):
        ours = StreamingLDA(shrinkage)
        theirs = Theirs(
            slda_model=nn.Identity(),
            criterion=None,
            input_size=16,
            num_classes=4,
            shrinkage_param=shrinkage,
            evaluator=None,
        )
        # In double precision: it is the method that is compared, and theirs rounds after each sample.
        theirs.muK, theirs.cK, theirs.Sigma = theirs.muK.double(), theirs.cK.double(), theirs.Sigma.double()
        for start in (0, 150):  # two experiences
            part = slice(start, start + 150)
            learn(ours, network, features[part], labels[part], EXPERIENCE)
            for z, y in zip(features[part].double(), labels[part], strict=True):
                theirs.fit(z[None], y[None])
            expected = theirs.predict(x.double())
            torch.testing.assert_close(ours.scatter / ours.counts.sum(), theirs.Sigma, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(logits(ours, network, x).double(), expected, rtol=1e-5, atol=1e-5)

    v, positive = features.abs(), x.abs()
    once = FeCAM(0.5, gamma1=3.0, gamma2=3.0, mean="transformed")
    learn(once, network, v, labels, EXPERIENCE)
    classifier = FeCAMClassifier(tukey1=0.5, shrink1=1.0, shrink2=1.0)  # it shrinks twice
    transformed = classifier.apply_transforms(v)
    classifier.replace_class_means_dict(compute_means(transformed, labels))
    classifier.replace_class_cov_dict(classifier.apply_cov_transforms(compute_covariance(transformed, labels)))
    torch.testing.assert_close(logits(once, network, positive), classifier(positive), rtol=1e-4, atol=1e-5)
