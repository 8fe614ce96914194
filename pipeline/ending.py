"""What a stage says when it has ended."""

from oneshot.tables import of_one_run, read_csv
from pipeline.layout import Layout, address
from pipeline.show import summary


def describe_result(stage: str, key: str) -> str:
    """Empty for a training, whose progress has said it all."""
    layout = Layout.find()
    with of_one_run(address(stage, key)):
        match stage:
            case "download":
                return f"{key}: its four files are as pinned"
            case "evaluate_subnets":
                rows = read_csv(layout.study(key).oneshot)
                best = max(rows, key=lambda row: float(row["val_accuracy"]))
                scored = f"{key}: {len(rows)} subnets scored; validation accuracy {best['val_accuracy']} at best"
                return f"{scored}, by {best['architecture']}, seed {best['seed']}"
            case "compare":
                return f"{key}: {summary(layout.study(key)).rstrip()}"
            case "report":
                return f"the page is {layout.page.relative_to(layout.root)}"
    return ""
