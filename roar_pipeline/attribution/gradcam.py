"""Grad-CAM (Selvaraju et al., ICCV 2017), as Park et al. 2020 use it (PROTOCOL 5).

Legend: N images, P pairs of (image, class), C channels, h x w cells of a layer, H x W pixels.
"""

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roar_pipeline import vgg

__all__ = ["evaluating", "gradcam"]


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Lend the model in eval mode and give every module its own training flag back, also after an error."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, flag in training.items():
            module.training = flag


def gradcam(model: nn.Sequential, images: Tensor, image_index: Tensor, class_index: Tensor, *, layer: str) -> Tensor:
    """Return relu(sum_c w_c A_c), enlarged bilinearly to the image, (P, H, W) float32.

    A is the output of ``layer`` and w_c the sum over its cells of d score / d A_c (Selvaraju et al. eq. 1 has
    their mean: the same map up to the number of cells). Only what lies above the layer runs once per pair.
    The interface is that of every method, see ``roar_pipeline.attribution``.
    """
    lower, upper = vgg.split_at(model, layer)
    with evaluating(model), torch.inference_mode(False):
        with torch.no_grad():
            activations = lower(images)[image_index]
        with torch.enable_grad():
            activations = activations.detach().requires_grad_()
            scores = upper(activations)
            chosen = F.one_hot(class_index, scores.shape[1]).to(scores.dtype)
            (gradients,) = torch.autograd.grad(scores, activations, chosen)
    weights = gradients.sum(dim=(2, 3))
    coarse = torch.einsum("pc,pchw->phw", weights, activations.detach()).relu()
    size = (images.shape[2], images.shape[3])
    return F.interpolate(coarse[:, None], size=size, mode="bilinear", align_corners=False)[:, 0].float()
