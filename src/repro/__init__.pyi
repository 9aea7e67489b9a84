from .inference import stylize as stylize
from .inference import upscale as upscale
from .loss_network import LossNetwork as LossNetwork
from .losses import PerceptualLoss as PerceptualLoss
from .losses import gram_matrix as gram_matrix
from .optimize_image import invert_features as invert_features
from .optimize_image import reconstruct_style as reconstruct_style
from .optimize_image import transfer_style as transfer_style
from .picture_files import load_image as load_image
from .picture_files import save_image as save_image
from .transform_nets import StyleTransferNet as StyleTransferNet
from .transform_nets import SuperResolutionNet as SuperResolutionNet

__version__: str
