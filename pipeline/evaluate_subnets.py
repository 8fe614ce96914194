"""Stage evaluate_subnets: every subnet with inherited weights on the validation split, with its params and MACs, and
how far its predictions are from those of the largest."""

from oneshot.cost import by_size, count_macs, count_params
from oneshot.evaluation import accuracies, calibrated_tree, log_probabilities, score_inherited, symmetrised_kl
from oneshot.space import architecture_id
from oneshot.tables import write_csv
from pipeline.context import Context
from pipeline.weights import load_supernet

COLUMNS = ("architecture", "seed", "val_accuracy", "val_accuracy_inherited", "params", "macs", "kl_to_reference")


def run(context: Context) -> None:
    machine = context.machine(context.params.compute.supernet_threads)
    machine.claim()
    training, validation = context.load_split(machine)
    section, reference = context.study.evaluate, by_size(context.space)[-1]
    rows = []
    for seed in context.study.seeds:
        supernet = load_supernet(context, seed, machine)
        tree = calibrated_tree(supernet.paths, training, section, machine)
        beliefs = log_probabilities(tree, validation, section.batch_size, machine)
        classes = {architecture: belief.argmax(1) for architecture, belief in beliefs.items()}
        recalibrated = accuracies(classes, validation.labels)
        inherited = score_inherited(supernet.paths, recalibrated, validation, section, machine)
        for architecture in context.space.architectures:
            path = context.space.path(architecture)
            rows.append(
                {
                    "architecture": architecture_id(architecture),
                    "seed": seed,
                    "val_accuracy": recalibrated[architecture],
                    "val_accuracy_inherited": inherited[architecture],
                    "params": count_params(path),
                    "macs": count_macs(path, context.space.input_shape),
                    "kl_to_reference": round(symmetrised_kl(beliefs[architecture], beliefs[reference]), 9),
                }
            )
    write_csv(context.paths.oneshot, COLUMNS, rows)
