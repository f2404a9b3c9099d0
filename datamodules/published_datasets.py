"""Facts about the classification datasets of torchvision: their parts, and where their files lie."""

from collections.abc import Mapping
from typing import NamedTuple

TRAIN_TEST = {"train": "train", "test": "test"}
TRAIN_VAL_TEST = {"train": "train", "val": "val", "test": "test"}
LABELLED_VAL = {"train": "train", "test": "val"}
"""The test images have no published labels: the validation set is the test set."""


class Published(NamedTuple):
    """A dataset of ``torchvision.datasets``."""

    files: str
    """Where torchvision looks for its files, below the root."""
    splits: Mapping[str, str] | None = None
    """The value of its argument ``split`` for each part; None: it has the argument ``train`` or no official split."""


PUBLISHED = {
    "CIFAR10": Published("cifar-10-batches-py/ with data_batch_1 to data_batch_5, test_batch and batches.meta"),
    "CIFAR100": Published("cifar-100-python/ with train, test and meta"),
    "MNIST": Published("MNIST/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte and the same of t10k"),
    "FashionMNIST": Published("FashionMNIST/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte and the same of t10k"),
    "KMNIST": Published("KMNIST/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte and the same of t10k"),
    "EMNIST": Published("EMNIST/raw/ with the files emnist-<split>-*-ubyte"),
    "QMNIST": Published("QMNIST/raw/ with the files qmnist-*-ubyte"),
    "USPS": Published("the files usps.bz2 and usps.t.bz2"),
    "SVHN": Published("the files train_32x32.mat and test_32x32.mat", TRAIN_TEST),
    "STL10": Published("stl10_binary/ with train_X.bin, train_y.bin, test_X.bin, test_y.bin and class_names.txt", TRAIN_TEST),
    "SEMEION": Published("the file semeion.data"),
    "Flowers102": Published("flowers-102/ with jpg/, imagelabels.mat and setid.mat", TRAIN_VAL_TEST),
    "Food101": Published("food-101/ with images/ and meta/", TRAIN_TEST),
    "OxfordIIITPet": Published(
        "oxford-iiit-pet/ with images/ and annotations/", {"train": "trainval", "test": "test"}
    ),
    "DTD": Published("dtd/dtd/ with images/ and labels/", TRAIN_VAL_TEST),
    "FGVCAircraft": Published("fgvc-aircraft-2013b/data/", TRAIN_VAL_TEST),
    "GTSRB": Published("gtsrb/ with GTSRB/Training/, GTSRB/Final_Test/Images/ and GT-final_test.csv", TRAIN_TEST),
    "StanfordCars": Published(
        "stanford_cars/ with cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat", TRAIN_TEST
    ),
    "Country211": Published("country211/ with train/, valid/ and test/", {**TRAIN_VAL_TEST, "val": "valid"}),
    "RenderedSST2": Published("rendered-sst2/ with train/, valid/ and test/", TRAIN_VAL_TEST),
    "PCAM": Published("pcam/ with the files camelyonpatch_level_2_split_*.h5", TRAIN_VAL_TEST),
    "FER2013": Published("fer2013/ with icml_face_data.csv or fer2013.csv", TRAIN_TEST),
    "CLEVRClassification": Published("clevr/CLEVR_v1.0/ with images/ and scenes/", LABELLED_VAL),
    "Imagenette": Published("imagenette2/ with train/ and val/", LABELLED_VAL),
    "ImageNet": Published(
        "ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, or what torchvision "
        "unpacked of them",
        LABELLED_VAL,
    ),
    "Places365": Published(
        "the file lists places365_*.txt and the image folders of torchvision", {"train": "train-standard", "test": "val"}
    ),
    "SUN397": Published("SUN397/ with the images and ClassName.txt"),
    "EuroSAT": Published("eurosat/2750/ with a folder for each class"),
    "Caltech101": Published("caltech101/ with 101_ObjectCategories/ and Annotations/"),
    "Caltech256": Published("caltech256/256_ObjectCategories/"),
    "Omniglot": Published("omniglot-py/images_background/"),
    "INaturalist": Published("a folder with the name of the version, such as 2021_valid/"),
}  # fmt: skip
"""By their names in ``torchvision.datasets``."""
