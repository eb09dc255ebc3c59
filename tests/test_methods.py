"""A method's name and its parts."""

import pytest

from roar_pipeline.errors import InputError
from roar_pipeline.methods import CONTROLS, METHODS, SHUFFLED, VARIANTS, MethodName, check_method

NAMES = [
    base if variant is None else f"{base}+{variant}"
    for base in (*METHODS, *CONTROLS, "my.module:function")
    for variant in (None, *VARIANTS, SHUFFLED)
]


@pytest.mark.parametrize("text", [*NAMES, "", "+", "gradcam+", "a+b+c"])
def test_a_name_taken_apart_is_the_same_name(text: str) -> None:
    name = MethodName.parse(text)
    assert str(name) == text
    assert MethodName(name.base, name.variant) == name
    assert "+" not in name.base


@pytest.mark.parametrize(
    ("text", "base", "variant", "true"),
    [
        ("gradcam", "gradcam", None, {"needs_model", "masks_depend_on_image"}),
        ("lrp+blur", "lrp", "blur", {"needs_model", "masks_depend_on_image"}),
        ("lrp+shuffled", "lrp", "shuffled", {"needs_model", "is_shuffled"}),
        ("random", "random", None, {"is_control", "is_seeded"}),
        ("random+max", "random", "max", {"is_control", "is_seeded"}),
        ("center", "center", None, {"is_control"}),
        ("sobel+max", "sobel", "max", {"is_control", "masks_depend_on_image"}),
        ("my:random", "my:random", None, {"needs_model", "is_custom", "masks_depend_on_image"}),
        ("my:f+shuffled", "my:f", "shuffled", {"needs_model", "is_custom", "is_shuffled"}),
    ],
)
def test_what_a_name_says(text: str, base: str, variant: str | None, true: set[str]) -> None:
    name = MethodName.parse(text)
    assert (name.base, name.variant) == (base, variant)
    properties = ("is_control", "needs_model", "is_custom", "is_seeded", "is_shuffled", "masks_depend_on_image")
    assert {each for each in properties if getattr(name, each)} == true


def test_a_shuffled_method_ranks_by_the_maps_of_its_base() -> None:
    assert MethodName("gradcam").shuffled == MethodName("gradcam", SHUFFLED)
    assert MethodName("gradcam", SHUFFLED).unshuffled == MethodName("gradcam")
    assert MethodName("gradcam", "blur").unshuffled == MethodName("gradcam", "blur")


def test_what_is_computed_for_a_name() -> None:
    assert MethodName.parse("gradient_abs+blur").raw == "gradient"
    assert MethodName.parse("my:f+blur").raw == "my:f"


def test_titles() -> None:
    titles = {"gradcam": "Grad-CAM", "lrp+blur": "LRP, blurred", "random": "Random", "ebp+shuffled": "EBP, shuffled"}
    assert {text: MethodName.parse(text).title for text in titles} == titles


@pytest.mark.parametrize("text", ["gradcam+", "gradcam+blur+max", "random+sharp", "lrp+"])
def test_a_plus_without_a_known_variant_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"unknown variant '\+.*Known: \+blur, \+max, \+shuffled"):
        check_method(text)
