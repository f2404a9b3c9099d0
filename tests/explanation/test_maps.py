"""Maps against maps made by hand, and the classifier left as it was."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own custom

from lightning_vision import ContinualClassifier, Strategy
from lightning_vision.errors import ConfigError
from lightning_vision.explanation.maps import class_maps, class_scores, empty_maps
from lightning_vision.explanation.methods import GRADIENT, KNOWN
from strategies import NearestMean, SklearnHead

NAMES = [f"class {number}" for number in range(6)]


def classifier(
    backbone: str = "test_resnet", size: int = 64, strategy: Strategy | None = None, **options: Any
) -> ContinualClassifier:
    torch.manual_seed(0)
    model = ContinualClassifier(
        backbone=backbone, pretrained=False, class_names=NAMES, image_size=size, strategy=strategy, **options
    )
    model.network.see(range(len(NAMES)))
    return model.eval()


def noise(count: int, size: int = 64, seed: int = 1) -> Tensor:
    """Normalised images, coarse enough that something is seen in them."""
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (size, size), mode="bilinear")


def to_unit(cam: Tensor, size: int) -> Tensor:
    """(N, h, w) to (N, H, W) in [0, 1]."""
    low, high = cam.amin(dim=(1, 2), keepdim=True), cam.amax(dim=(1, 2), keepdim=True)
    scaled = torch.where(high > low, (cam - low) / (high - low), 0)
    return F.interpolate(scaled[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]


Split = Callable[[Any, Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]


def of_resnet(b: Any, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    a = b.layer4(b.layer3(b.layer2(b.layer1(b.maxpool(b.act1(b.bn1(b.conv1(x))))))))
    return a, lambda a: a.mean(dim=(2, 3))


def of_efficientnet(b: Any, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    return b.bn2(b.conv_head(b.blocks(b.bn1(b.conv_stem(x))))), lambda a: a.mean(dim=(2, 3))


def of_vit(b: Any, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    x = b.patch_embed(x)
    x = torch.cat([b.cls_token.expand(len(x), -1, -1), x], dim=1) + b.pos_embed
    *before, last = b.blocks
    for block in before:
        x = block(x)

    def rest(a: Tensor) -> Tensor:
        y = x + last.attn(a)
        return b.norm(y + last.mlp(last.norm2(y)))[:, 0]  # type: ignore[no-any-return]

    return last.norm1(x), rest


def of_swin(b: Any, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    return b.norm(b.layers(b.patch_embed(x))), lambda a: a.mean(dim=(1, 2))


def first(a: Tensor) -> Tensor:
    return a


def patches(a: Tensor) -> Tensor:
    """Tokens (N, 1 + h * h, C) as (N, C, h, h)."""
    side = int((a.shape[1] - 1) ** 0.5)
    return a[:, 1:].reshape(len(a), side, side, -1).movedim(-1, 1)


def last(a: Tensor) -> Tensor:
    return a.movedim(-1, 1)


BY_HAND: dict[str, tuple[Split, Callable[[Tensor], Tensor]]] = {
    "resnet18": (of_resnet, first),
    "tf_efficientnetv2_b0": (of_efficientnet, first),
    "mobilenetv2_100": (of_efficientnet, first),
    "vit_tiny_patch16_224": (of_vit, patches),
    "swin_tiny_patch4_window7_224": (of_swin, last),
}


def parts_by_hand(model: ContinualClassifier, image: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Activations and gradients (N, C, h, w) of the layer that is mapped, in float64; the model is changed to it."""
    network = model.double().network
    split, to_map = BY_HAND[network.facts.name]
    with torch.no_grad():
        a, rest = split(network.backbone, image.double())
    a.requires_grad_()
    scores = network.head(rest(a))
    (g,) = torch.autograd.grad(scores.gather(1, classes[:, None]).sum(), a)
    return to_map(a.detach()), to_map(g)


@pytest.mark.parametrize("backbone", BY_HAND)
def test_grad_cam_by_hand(backbone: str) -> None:
    model, image, classes = classifier(backbone), noise(6), torch.arange(6)
    single = class_maps(model, image, classes)
    a, g = parts_by_hand(model, image, classes)
    expected = to_unit((g.mean(dim=(2, 3), keepdim=True) * a).sum(dim=1).relu(), 64)
    assert expected.amax(dim=(1, 2)).sum() >= 3, "something is seen in half of the images"
    double = class_maps(model, image.double(), classes)
    assert (double - expected).abs().max() < 1e-6
    assert (single - expected).abs().max() < 3e-5, "random weights cancel, and single precision has seven digits"


def test_grad_cam_pp_by_hand() -> None:
    """Equation 19 of the paper; torchcam 0.5.0 silently omits its denominator."""
    model, image, classes = classifier("vit_tiny_patch16_224"), noise(6), torch.arange(6)
    a, g = parts_by_hand(model, image, classes)
    below = 2 * g**2 + g**3 * a.sum(dim=(2, 3), keepdim=True)
    weights = (g**2 / below * g.relu()).sum(dim=(2, 3), keepdim=True)
    expected = to_unit((weights * a).sum(dim=1).relu(), 64)
    assert (class_maps(model, image.double(), classes, "GradCAMpp") - expected).abs().max() < 1e-6
    without = to_unit(((g**2 * g.relu()).sum(dim=(2, 3), keepdim=True) * a).sum(dim=1).relu(), 64)
    assert (without - expected).abs().max() > 0.1


def test_layer_cam_by_hand() -> None:
    model, image, classes = classifier("resnet18"), noise(6), torch.arange(6)
    a, g = parts_by_hand(model, image, classes)
    expected = to_unit((g.relu() * a).sum(dim=1).relu(), 64)
    assert (class_maps(model, image.double(), classes, "LayerCAM") - expected).abs().max() < 1e-6


def test_finer_cam_compares_with_classes_that_were_seen() -> None:
    model, image, classes = classifier("resnet18"), noise(6), torch.zeros(6, dtype=torch.int64)
    model.network.seen[2:] = False
    (a, g), (_, other) = (parts_by_hand(model, image, each) for each in (classes, classes + 1))
    weights = (g - 0.6 * other).mean(dim=(2, 3), keepdim=True)
    expected = to_unit((weights * a).sum(dim=1).relu(), 64)
    assert (class_maps(model, image.double(), classes, "FinerCAM") - expected).abs().max() < 1e-6
    model.network.seen[1:] = False  # nothing to compare with
    alone = class_maps(model, image.double(), classes, "FinerCAM")
    assert (alone - class_maps(model, image.double(), classes)).abs().max() < 1e-6


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "test_vit"])
def test_batches_of_32_equal_one_by_one(backbone: str) -> None:
    model, image = classifier(backbone), noise(33)
    classes = torch.arange(33) % 6
    together = class_maps(model, image, classes)
    one_by_one = torch.cat([class_maps(model, image[n : n + 1], classes[n : n + 1]) for n in range(33)])
    assert together.shape == (33, 64, 64) and together.dtype == torch.float32
    assert together.min() >= 0 and together.max() <= 1
    assert (together - one_by_one).abs().max() < 3e-5


@pytest.mark.parametrize("method", ["GradCAM", "XGradCAM", "ScoreCAM", "FinerCAM"])
def test_several_classes_of_a_image(method: str) -> None:
    model, image = classifier(), noise(3, seed=2)
    classes = torch.tensor([[0, 1], [5, 5], [3, 2]])
    both = class_maps(model, image, classes, method)
    assert both.shape == (3, 2, 64, 64)
    for column in range(2):
        assert (both[:, column] - class_maps(model, image, classes[:, column], method)).abs().max() < 1e-5
    assert class_maps(model, image[:0], classes[:0], method).shape == (0, 2, 64, 64)


def state_of(model: ContinualClassifier) -> tuple[Any, ...]:
    modules = list(model.modules())
    return (
        [(name, value.clone()) for name, value in model.state_dict().items()],
        [parameter.requires_grad for parameter in model.parameters()],
        [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()],
        [module.training for module in modules],
        [
            (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
            for module in modules
        ],
        model.network.backbone_images,
        torch.get_rng_state().tolist(),
        (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    )


def assert_same(before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
    for (name, old), (_, new) in zip(before[0], after[0], strict=True):
        assert torch.equal(old, new), name
    assert before[1] == after[1]
    assert all(
        (old is None) == (new is None) and (old is None or torch.equal(old, new))
        for old, new in zip(before[2], after[2], strict=True)
    )
    assert before[3:] == after[3:]


@pytest.mark.parametrize("method", [name for name in KNOWN if name not in ("SSCAM", "ISCAM")])
@pytest.mark.parametrize("mode", ["frozen", "training", "inference"])
def test_the_classifier_is_left_as_it_was(method: str, mode: str) -> None:
    model, image = classifier(), noise(2)
    expected = class_maps(model, image, torch.tensor([0, 1]), method)
    if mode == "frozen":
        model.requires_grad_(False)
    elif mode == "training":
        model.train()
        model.network.backbone.layer2.eval()  # type: ignore[union-attr]
        model.network.head.weight.grad = torch.ones_like(model.network.classifier.weight)
    before = state_of(model)
    with torch.inference_mode(mode == "inference"):
        inside = state_of(model)
        found = class_maps(model, image.clone(), torch.tensor([0, 1]), method)
        assert_same(inside, state_of(model))
    assert_same(before, state_of(model))
    assert torch.equal(found, expected)


def test_the_classifier_is_left_as_it_was_after_an_error() -> None:
    class Failing(Strategy):
        def predict(self, network: Any, features: Tensor) -> Tensor:
            raise RuntimeError("no prediction today")

    model = classifier(strategy=Failing()).train()
    before = state_of(model)
    for method in ("GradCAM", "SmoothGradCAMpp", "ScoreCAM"):
        with pytest.raises(RuntimeError, match="no prediction today"):
            class_maps(model, noise(2), torch.tensor([0, 1]), method)
        assert_same(before, state_of(model))


def test_noise_is_drawn_by_the_seed() -> None:
    model, image = classifier(), noise(1)
    found = [class_maps(model, image, torch.tensor([1]), "SmoothGradCAMpp", seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize("method", ["SSCAM", "ISCAM"])
def test_the_slowest_methods(method: str) -> None:
    found = class_maps(classifier("test_vit", 32), noise(1, 32), torch.tensor([1]), method)
    assert found.max() > 0 and found.isfinite().all()


def test_cam_where_it_applies() -> None:
    model, image, classes = classifier(), noise(4), torch.arange(4)
    assert (class_maps(model, image, classes, "CAM") - class_maps(model, image, classes)).abs().max() > 0
    # Before ReLU and scaling the two differ by the number of places: where CAM's least value is 0 they are the same.
    w = model.network.classifier.weight.detach()
    kept: list[Tensor] = []
    with model.network.backbone.layer4.register_forward_hook(lambda *called: kept.append(called[2])):  # type: ignore[union-attr]
        model(image)
    expected = to_unit(torch.einsum("nc,nchw->nhw", w[classes], kept[0].detach()), 64)
    assert (class_maps(model, image, classes, "CAM") - expected).abs().max() < 1e-4
    with pytest.raises(ConfigError, match="CAM needs a linear head after averaging the target layer"):
        class_maps(classifier("test_vit"), image, classes, "CAM")
    with pytest.raises(ConfigError, match="CAM needs a linear head after averaging the target layer"):
        class_maps(classifier(head_hidden=8), image, classes, "CAM")


def test_the_strategys_own_prediction_is_explained() -> None:
    """A class mean looks elsewhere than the linear head, by the gradient of its own score."""
    model, image, classes = classifier(strategy=NearestMean()), noise(4), torch.tensor([0, 1, 0, 1])
    by_head = class_maps(model, image, classes)
    with torch.no_grad():
        features = model.network.backbone(noise(8, seed=9))
    model.strategy.update(model.network, features, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
    by_mean = class_maps(model, image, classes)
    assert (by_mean - by_head).abs().max() > 0.1 and empty_maps(by_mean) < 4
    assert torch.allclose(class_scores(model, image), model(image), atol=1e-6)
    assert torch.equal(class_scores(model, image).argmax(dim=1), model(image).argmax(dim=1))
    assert empty_maps(class_maps(model, image, torch.full((4,), 5))) == 4, "class 5 has no mean"


def test_a_prediction_without_gradient() -> None:
    model, image = classifier(strategy=SklearnHead("sklearn.naive_bayes.GaussianNB")), noise(2)
    with torch.no_grad():
        features = model.network.backbone(noise(12, seed=9))
    model.strategy.update(model.network, features, torch.arange(12) % 6)
    with pytest.raises(
        ConfigError,
        match=r"GradCAM needs the gradient of the prediction, which SklearnHead does not have\. Use ScoreCAM",
    ):
        class_maps(model, image, torch.tensor([0, 1]))
    assert empty_maps(class_maps(model, image, torch.tensor([0, 1]), "ScoreCAM")) < 2


def test_what_shows_nothing_is_zero_and_counted() -> None:
    model, image = classifier(), noise(3)
    model.network.seen[5] = False
    assert empty_maps(class_maps(model, image, torch.tensor([5, 5, 5]))) == 3
    with torch.no_grad():
        model.network.classifier.weight[4] = torch.nan
        model.network.classifier.weight[3] = 0
    found = class_maps(model, image, torch.tensor([[4, 3], [4, 3], [4, 0]]))
    assert found.isfinite().all() and empty_maps(found) in (5, 6)
    assert (found[:, 0] == 0).all() and (found[:2, 1] == 0).all()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("grad-cam++", "there is no 'grad-cam\\+\\+'. Known methods, similar names first: GradCAMpp, .*ISCAM"),
        ("Score-CAM", "similar names first: ScoreCAM, "),
        (
            "LeGrad",
            "LeGrad cannot be used here: torchcam supports it only for torchvision's ViT. Known methods: GradCAM",
        ),
    ],
)
def test_an_unknown_method(method: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        class_maps(classifier(), noise(1), torch.tensor([0]), method)


def test_every_gradient_method_takes_every_kind_of_layer() -> None:
    for backbone in ("test_efficientnet", "test_vit", "swin_tiny_patch4_window7_224"):
        model = classifier(backbone)
        for method in GRADIENT:
            found = class_maps(model, noise(2), torch.tensor([0, 1]), method)
            assert found.shape == (2, 64, 64) and found.isfinite().all(), (backbone, method)


def test_uint8_images_are_normalised() -> None:
    model = classifier()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 1])
    assert torch.equal(class_maps(model, images, classes), class_maps(model, model.network.normalise(images), classes))


def test_a_layer_that_is_changed_in_place() -> None:
    """timm's ResNet adds the shortcut to what this layer gives, in place."""
    model = classifier("resnet18")
    assert class_maps(model, noise(2), torch.tensor([0, 1]), layer="layer3.1.bn2").isfinite().all()
    assert isinstance(model.network.backbone.get_submodule("layer3.1.bn2"), nn.BatchNorm2d)
