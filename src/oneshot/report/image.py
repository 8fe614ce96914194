"""A figure as PNG bytes without anything that changes from run to run."""

import io

from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return content.getvalue()
