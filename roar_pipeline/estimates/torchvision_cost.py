"""Cost of torchvision's classifiers per image, by a measured table; and an assumption about models that are unknown.

Legend: H x W pixels, K classes.
"""

from roar_pipeline.estimates.amounts import Cost
from roar_pipeline.estimates.torchvision_costs import COSTS

__all__ = ["assumed_cost", "torchvision_cost"]

_CLASSES = 1000
"""Of the table."""
_ASSUMED = "resnet50"


def torchvision_cost(arch: str, classes: int, height: int, width: int) -> Cost:
    """Return what torchvision's ``arch`` costs on an image of height x width pixels.

    The walk of the attribution methods is counted as keeping all that autograd keeps.
    """
    row, pixels = COSTS[arch], height * width
    head, last = row.features * (classes - _CLASSES), int(row.last * pixels)
    cells = last // row.features if arch.startswith("squeezenet") else 1  # whose classifier is a convolution
    saved, sums = (int(constant + slope * pixels) for constant, slope in (row.saved, row.sums))
    return Cost(
        multiply_adds=max(1, int(row.multiply_adds[0] + row.multiply_adds[1] * pixels) + head * cells),
        parameters=row.parameters + head + classes - _CLASSES,
        saved_bytes=saved,
        tape_bytes=saved,
        sums_bytes=sums,
        widest_bytes=int(row.widest * pixels),
        matched={"last_relu": last} if last else {},
    )


def assumed_cost(classes: int, height: int, width: int) -> Cost:
    """Return the cost that is assumed of a model of the user's own, which is unknown before it runs: ResNet-50's."""
    return torchvision_cost(_ASSUMED, classes, height, width)
