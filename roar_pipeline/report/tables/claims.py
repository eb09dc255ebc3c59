"""Tables of claims, and of the differences between models that decide them."""

from collections.abc import Sequence

from roar_pipeline.report.claims import Claim, Difference
from roar_pipeline.report.tables.estimates import estimate_texts, p_text
from roar_pipeline.report.tables.table import Table, table_of_columns

__all__ = ["brief_claims", "claim_lines", "difference_table"]


def difference_table(differences: Sequence[Difference], title: str) -> Table:
    """Tabulate differences between models, in points, with 95 % intervals and p-values corrected for their number."""
    columns = {
        "difference [95 %]": estimate_texts([d.estimate for d in differences], [d.estimate.runs for d in differences]),
        "p (Holm)": [p_text(d.corrected_p) for d in differences],
    }
    return table_of_columns(title, [d.label for d in differences], columns)


def claim_lines(claims: Sequence[Claim]) -> list[tuple[str, str, str]]:
    """Return verdict, text and deciding differences, in points, of every claim."""
    return [
        (
            claim.verdict,
            f"{claim.text} ({claim.measure})",
            "; ".join(
                f"{d.label} {estimate_texts([d.estimate], [d.estimate.runs])[0]}"
                + ("" if d.corrected_p is None else f", p {p_text(d.corrected_p)}")
                for d in claim.differences
            ),
        )
        for claim in claims
    ]


def brief_claims(claims: Sequence[Claim]) -> list[str]:
    """Return verdict and text of the claims; methods of which the same is judged alike share a line."""
    methods: dict[str, list[str]] = {}
    for claim in claims:
        statement = f"{claim.text.removeprefix(claim.method)} ({claim.measure})"
        methods.setdefault(f"{claim.verdict}: {{}}{statement}", []).append(claim.method)
    return [line.replace("{}", ", ".join(names), 1) for line, names in methods.items()]
