"""What a step of a trial costs, counted after its training has ended, so that nothing changes."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import Optimizer

from qbench.models.layers import quantized_layers
from qbench.quantizers.contract import Progress
from qbench.training.engine import Engine, as_given
from qbench.training.operators import count
from qbench.training.optimizers import quantizers_of
from qbench.training.setup import Experiment

__all__ = ["added_parameters", "state_bytes", "training_cost"]

_IMAGES = 16
_UNCOUNTED: dict[str, int | None] = {"kernels": None, "host_syncs": None}


def training_cost(experiment: Experiment, epochs: int) -> dict[str, int | None]:
    """Count one more training step and what training keeps; nothing may be trained or read after.

    The step is one of the middle of training, on a few images without augmentation: schedules stand
    there, and the optimizers have their state. It is counted once the trial is otherwise done, so a
    trial that was cut off and continued counts the same, and no number of training can change.

    Args:
        experiment: What was trained.
        epochs: Of the whole training.

    Returns:
        ``kernels`` and ``host_syncs`` of :mod:`qbench.training.operators`, on the trial's device
        (nothing where no step is trained, or where it cannot be watched; on a GPU the optimizers
        need fewer kernels);
        ``quantizer_parameters``, trainable numbers that the quantizers add;
        ``training_state_bytes``, of parameters, buffers and the optimizers' state, without
        gradients and activations.
    """
    model, optimizers = experiment.model, experiment.optimizers
    kept = {
        "quantizer_parameters": sum(part.numel() for part in added_parameters(model)),
        "training_state_bytes": state_bytes(model, optimizers),
    }
    return kept | (_step(experiment, epochs) if epochs else _UNCOUNTED)


def added_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The trainable parameters that are the quantizers' own, each once."""
    layers = quantized_layers(model).values()
    network = {id(own) for layer in layers for own in layer.parameters(recurse=False)}
    own = [
        parameter
        for quantizer, _ in quantizers_of(model)
        for parameter in (
            *quantizer.parameters(),
            *(part for group in quantizer.parameter_groups() for part in group.parameters),
        )
        if parameter.requires_grad and id(parameter) not in network
    ]
    return list({id(parameter): parameter for parameter in own}.values())


def state_bytes(model: nn.Module, optimizers: Iterable[Optimizer]) -> int:
    """Bytes of parameters, buffers and the optimizers' state, each tensor once."""
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    for optimizer in optimizers:
        for state in optimizer.state.values():
            tensors += [value for value in state.values() if isinstance(value, Tensor)]
    unique = {id(tensor): tensor for tensor in tensors}
    return sum(tensor.numel() * tensor.element_size() for tensor in unique.values())


def _step(experiment: Experiment, epochs: int) -> dict[str, int | None]:
    model, engine, loader = experiment.model, experiment.engine, experiment.loader
    total = epochs * loader.steps_per_epoch
    middle = Progress(
        step=total // 2,
        total_steps=total,
        epoch=epochs // 2,
        total_epochs=epochs,
        learning_rate=engine.training.optimizer.learning_rate / 2,
    )
    batch = loader.diagnostic(_IMAGES)  # the number of images changes no number of kernels
    engine.fetch = as_given  # input is not counted
    model.train()
    try:
        counts = count(lambda: Engine.step(engine, batch, middle), experiment.optimizers)
    except Exception:  # whatever a plug-in's operators raise when watched: the results are whole
        return _UNCOUNTED
    return {"kernels": counts.kernels, "host_syncs": counts.host_syncs}
