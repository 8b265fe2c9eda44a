"""Text that LaTeX prints as it stands."""

import re
from collections.abc import Sequence

from qbench.reporting.document import plain

__all__ = ["escape_characters", "escape_latex", "stacked"]

_CHARACTERS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    # At the start of a row these would belong to the line break before it.
    "[": "{[}", "*": "{*}",
    "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "·": r"$\cdot$", "²": r"$^2$", "³": r"$^3$",
    "—": r"\textemdash{}", "–": r"\textendash{}", "…": r"\ldots{}", "°": r"\textdegree{}",
    "‘": r"\textquoteleft{}", "’": r"\textquoteright{}", "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}", "✓": r"$\surd$", "✗": r"$\times$", "≥": r"$\geq$",
    "≤": r"$\leq$", "≈": r"$\approx$", "≠": r"$\neq$", "→": r"$\to$", "∞": r"$\infty$",
    "↓": r"$\downarrow$", "↑": r"$\uparrow$",
    "√": r"$\surd$", "Δ": r"$\Delta$", "Σ": r"$\Sigma$", "α": r"$\alpha$", "β": r"$\beta$",
    "γ": r"$\gamma$", "δ": r"$\delta$", "ε": r"$\varepsilon$", "κ": r"$\kappa$",
    "λ": r"$\lambda$", "μ": r"$\mu$", "π": r"$\pi$", "ρ": r"$\rho$", "σ": r"$\sigma$",
    "τ": r"$\tau$", "χ": r"$\chi$",
}  # fmt: skip
_LIGATURE = re.compile(r"([-,'])(?=\1)")
"""Two hyphens would become a dash, two commas or apostrophes a quotation mark."""


def escape_latex(text: str) -> str:
    """``text`` as one line of LaTeX that prints every character.

    A character outside Latin-1 that has no command here is printed as its code point, since the
    fonts of pdflatex do not hold it.
    """
    return escape_characters(plain(text))


def escape_characters(text: str) -> str:
    """The same for a part of a line, with the spaces around it."""
    escaped = "".join(_latex_character(character) for character in text)
    return _LIGATURE.sub(r"\1{}", escaped)


def _latex_character(character: str) -> str:
    known = _CHARACTERS.get(character)
    if known is not None:
        return known
    code = ord(character)
    printable = code < 128 or (code < 256 and character.isalpha())
    return character if printable else f"U+{code:04X}"


def stacked(lines: Sequence[str], place: str, side: str) -> str:
    """Plain lines on top of each other in a cell.

    Args:
        lines: Each is escaped here; one that is alone needs nothing else.
        place: The line that stands at the height of the row: ``t`` or ``b``.
        side: ``l``, ``c`` or ``r``.
    """
    escaped = [escape_latex(line) for line in lines]
    if len(escaped) < 2:
        return "".join(escaped)
    body = r"\\".join(escaped)
    return rf"\begin{{tabular}}[{place}]{{@{{}}{side}@{{}}}}{body}\end{{tabular}}"
