"""What a stage says when it has ended."""

from oneshot.tables import read_csv
from pipeline.layout import Layout
from pipeline.show import summary


def outcome(stage: str, key: str) -> str:
    """Empty for a training, whose progress has said it all."""
    layout = Layout.find()
    match stage:
        case "download":
            return f"{key}: its four files are as pinned"
        case "evaluate_subnets":
            rows = read_csv(layout.study(key).oneshot)
            best = max(rows, key=lambda row: float(row["val_accuracy"]))
            at_best = f"validation accuracy {best['val_accuracy']} at best, by {best['architecture']}"
            return f"{key}: {len(rows)} subnets scored; {at_best}"
        case "compare":
            return f"{key}: {summary(layout.study(key)).rstrip()}"
        case "report":
            return "the page is report/index.html"
    return ""
