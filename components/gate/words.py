"""How the gate writes numbers."""


def points(share: float) -> str:
    """A difference of shares, -1 to 1, in percentage points."""
    return f"{100 * share:+.1f} points"


def p_value_words(p_value: float) -> str:
    """As it follows after "p "."""
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
