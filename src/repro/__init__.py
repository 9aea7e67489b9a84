"""Perceptual losses for real-time style transfer and super-resolution (Johnson et al. 2016), reproduced.

The names in ``__init__.pyi`` are what a reader types. Each is loaded when it is first used, so that
``import repro`` is light.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
