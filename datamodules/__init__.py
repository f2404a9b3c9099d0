"""Data sources, one per file: each reads a layout on disk into the sample table of ``lightning_vision``."""

from datamodules.avalanche import Avalanche
from datamodules.bounding_boxes import BoundingBoxes
from datamodules.core50 import CORe50
from datamodules.digits import Digits
from datamodules.hugging_face_dataset import HuggingFaceDataset
from datamodules.image_folder import ImageFolder
from datamodules.parquet_images import ParquetImages
from datamodules.products import Products
from datamodules.saliency_maps import SaliencyMaps
from datamodules.stanford_cars import StanfordCars
from datamodules.stanford_dogs import StanfordDogs
from datamodules.torchvision_dataset import TorchvisionDataset
from datamodules.web_dataset import WebDataset

__all__ = [
    "Avalanche",
    "BoundingBoxes",
    "CORe50",
    "Digits",
    "HuggingFaceDataset",
    "ImageFolder",
    "ParquetImages",
    "Products",
    "SaliencyMaps",
    "StanfordCars",
    "StanfordDogs",
    "TorchvisionDataset",
    "WebDataset",
]
