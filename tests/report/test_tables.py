"""Tables as text: alignment, wrapping, degenerate values."""

from pathlib import Path

from roar_pipeline.report.grid import ModelRun
from roar_pipeline.report.labels import SEVERAL_LABELS
from roar_pipeline.report.statistics.localization import Localization
from roar_pipeline.report.tables.localization import localization_table
from roar_pipeline.report.tables.models import class_table, classification_table
from roar_pipeline.report.tables.plain_text import to_text
from roar_pipeline.report.tables.table import MISSING, Table, percent_text, signed_text


def test_percent_text():
    assert percent_text(0.7214) == "72.1"
    assert percent_text(1.0, 0) == "100"
    assert percent_text(None) == MISSING


def test_signed_numbers_have_a_real_minus_unless_they_round_to_zero():
    assert [signed_text(value, 2) for value in (-1.234, 0.5, -0.001, 0.0)] == ["−1.23", "0.50", "0.00", "0.00"]


def test_text_is_aligned_and_has_notes_below():
    table = Table("Title", ("", "a", "long name"), (("one", "1", "22"), ("three", "333", "4")), ("A note.",))
    assert to_text(table).splitlines() == [
        "Title",
        "         a  long name",
        "---------------------",
        "one      1         22",
        "three  333          4",
        "A note.",
    ]


def test_columns_that_do_not_fit_go_below_under_the_names():
    table = Table("T", ("", *(f"c{n:02}" for n in range(30))), (("row", *(f"{n}" for n in range(30))),))
    lines = to_text(table, 60).splitlines()
    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("row") for line in lines) == 3
    assert "".join(line[3:] for line in lines if line.startswith("row")).split() == [str(n) for n in range(30)]


def test_groups_are_not_torn_apart():
    table = Table("T", ("", "a", "b", "c", "d"), (("r", "1", "2", "3", "4"),), groups=(("first", 2), ("second", 2)))
    assert to_text(table, 12).splitlines() == [
        "T",
        "   first",
        "   a  b",
        "-------",
        "r  1  2",
        "",
        "   second",
        "   c  d",
        "-------",
        "r  3  4",
    ]


def run(model, seed, f1, parameters=1000):
    return ModelRun(
        model,
        seed,
        parameters,
        {
            "f1_samples": f1,
            "f1_tuned": None,
            "map_classes": None,
            "map_samples": 0.5,
            "map_voc": 0.25,
        },
        (f1, None),
        Path(),
        0.5,
        "",
    )


def test_classification_over_seeds():
    table = classification_table(
        [run("teacher", 0, 0.2), run("teacher", 1, 0.4), run("ewa/8", 0, 0.05, 1234567)], SEVERAL_LABELS
    )
    names = ("mAP (classes)", "F1", "F1 (tuned threshold)", "mAP (images)", "mAP (VOC's rule)")
    assert table.header[1:] == ("parameters", *names)
    assert table.rows[0] == ("Teacher", "1,000", MISSING, "30.0 ±14.1", MISSING, "50.0 ±0.0", "25.0 ±0.0")
    assert table.rows[1] == ("EWA /8", "1,234,567", MISSING, "5.0      ", MISSING, "50.0     ", "25.0     ")


def test_classes_without_positives_are_shown_as_missing():
    table = class_table(
        [run("teacher", 0, 0.2), run("teacher", 1, 0.4), run("swa", 0, 0.1)], ("cat", "dog"), SEVERAL_LABELS
    )
    assert table.header == ("", "Teacher", "SWA")
    assert table.rows == (("cat", "30.0", "10.0"), ("dog", MISSING, MISSING))


def test_localization_puts_controls_last_and_counts_pairs():
    def row(model, seed, over, auc, pairs, undefined=0):
        method = "random" if model is None else "gradcam"
        return Localization(model, method, seed, over, auc, 0.5, pairs, undefined, 2)

    rows = [row(None, None, "all", 0.5, 9, 1), row(None, 0, "common", 0.5, 3)]
    for seed, pairs in ((0, 4), (1, 6)):
        rows += [row("ewa", seed, over, 0.8, pairs, int(over == "all")) for over in ("own", "all", "common")]
    table = localization_table(rows, "gradcam")
    assert table.groups == (("AUC", 3), ("pointing", 3), ("pairs", 3), ("maps", 1))
    assert [r[0] for r in table.rows] == ["EWA", "Random"]
    assert table.rows[0][1:4] == ("80.0 ±0.0", "80.0 ±0.0", "80.0 ±0.0")
    assert table.rows[0][7:] == ("4–6", "4–6", "4–6", "2")
    assert table.rows[1][1].strip() == MISSING
    assert table.rows[1][7:] == (MISSING, "9", "3", "2")
    assert table.notes == (
        "Pairs without a value, because their class covers no or every pixel of the resized mask: 1.",
    )
