"""Training of image transformation networks: a recipe and photos in, a run folder with a network out."""

from .trainer import train

__all__ = ["train"]
