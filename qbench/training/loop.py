"""The whole experiment: train, measure, deploy, evaluate. Knows neither Ray nor MLflow."""

import math
import time
from collections.abc import Iterator

from torch import nn

from qbench.deployment.audit import audit_report
from qbench.deployment.freeze import freeze, save_deployed
from qbench.deployment.load import load_deployed
from qbench.diagnostics.contract import Measurement
from qbench.diagnostics.measure import Chosen, measure
from qbench.diagnostics.probe import Probe
from qbench.diagnostics.window import Window
from qbench.models.evaluation import evaluate
from qbench.models.layers import quantized_layers
from qbench.models.reestimate import reestimate_batch_norm
from qbench.quantizers.contract import Progress
from qbench.registry import diagnostics
from qbench.store import LayerRow, PhaseRow, PointRow, Row, TrialFolder
from qbench.study.fingerprint import fingerprint
from qbench.study.schema import DiagnosticEntry
from qbench.study.trial import Trial
from qbench.training.checkpoint import State, load_checkpoint, save_checkpoint
from qbench.training.clock import PhaseClock
from qbench.training.cost import training_cost
from qbench.training.environment import describe_environment
from qbench.training.optimizers import rate_factor, set_learning_rates
from qbench.training.setup import (
    float_network,
    placed,
    prepare_experiment,
    quantized,
)
from qbench.training.site import Site

__all__ = ["DivergedError", "train"]


class DivergedError(Exception):
    """The training loss is not a finite number."""


def train(trial: Trial, site: Site) -> Iterator[list[Row]]:
    """Train one trial from its last checkpoint on, and write its result files.

    With 0 epochs the network is deployed as its quantizers start, fitted where they are.

    Args:
        trial: What to train.
        site: Where: paths, device, threads.

    Yields:
        The rows of each epoch as it ends, and at last those of the test set, if it is opened.

    Raises:
        DivergedError: The loss became infinite or not a number.
        StartError: The weights to start from are missing.
    """
    run = Run(trial, site)
    while run.state.epoch < trial.last_epoch:
        yield run.train_epoch()
    yield run.finish()


class Run:
    """One trial under way."""

    def __init__(self, trial: Trial, site: Site) -> None:
        """Build the network, and go to where the last checkpoint stands."""
        self.trial, self.site, self.clock = trial, site, PhaseClock()
        self.started = time.time()
        self.folder, self.code = TrialFolder(site.results, trial.name), fingerprint(trial)
        with self.clock.phase("setup"):
            self.experiment = prepare_experiment(trial, site)
            if site.leads:
                self.folder.write_trial(trial, self.code)
            made = self.experiment
            state = self._continued()
        self.state = state or State()
        if state is not None or not trial.training.epochs:
            made.engine.set_progress(self._progress())
        self.window = Window(
            made.model,
            length=trial.diagnostics.window,
            steps_per_epoch=made.loader.steps_per_epoch,
        )
        self.saved_at = time.monotonic()
        if state is None:
            if not trial.training.epochs:
                self._validate()
            self._measure()

    def _continued(self) -> State | None:
        """Where the checkpoint stands, its own or that of the trial that it goes on from."""
        made, names = self.experiment, (self.trial.name, self.trial.continues)
        folders = (TrialFolder(self.site.results, name) for name in names if name)
        states = (
            load_checkpoint(folder, self.code, made.model, made.optimizers) for folder in folders
        )
        return next((state for state in states if state is not None), None)

    def train_epoch(self) -> list[Row]:
        """Train to the end of the running epoch, measure, and return the epoch's rows."""
        state, loader, engine = self.state, self.experiment.loader, self.experiment.engine
        first_row, watched = len(state.history), self._watched()
        with self.clock.phase("train"):
            self.experiment.model.train()
            if state.batch == 0:
                self._watch(watched)
            for picked in loader.picks(state.epoch, state.batch):
                loss, correct = engine.step(picked, self._progress())
                state.loss_sum = state.loss_sum + loss * len(picked[-1])
                state.correct = state.correct + correct
                state.images += len(picked[-1])
                state.batch += 1
                self._watch(watched)
                late = time.monotonic() - self.saved_at > self.site.checkpoint_seconds
                if late and self.site.leads:
                    self.save()
            mean_loss, accuracy = state.end_epoch()
        self._add("train/loss", mean_loss)
        self._add("train/accuracy", accuracy)
        if not math.isfinite(mean_loss):
            raise DivergedError(f"the training loss is {mean_loss} in epoch {state.epoch}")
        engine.set_progress(self._progress())
        self._validate()
        self._measure()
        state.seconds.extend(self.clock.take(state.epoch))
        return state.history[first_row:]

    def finish(self) -> list[Row]:
        """Deploy the network, evaluate what was deployed on the test set, and write all files."""
        state, loader, first_row = self.state, self.experiment.loader, len(self.state.history)
        self.save()
        with self.clock.phase("deploy"):
            data = save_deployed(freeze(self.experiment.model))
            self.folder.write("deployed.safetensors", data)
            deployed = placed(load_deployed(data, self._fresh_network()), self.site)
            few, bits = loader.diagnostic(16)[0], self.trial.bits
            report = audit_report(data, deployed, few, bits.weight, bits.activation)
        if self.trial.judged_on == "test":
            self._test(deployed)
        del deployed  # the counted step is to hold no more memory than those of training
        with self.clock.phase("deploy"):
            report["cost"] |= training_cost(self.experiment, self.trial.training.epochs)
            self.folder.write_json("audit.json", report)
        state.seconds.extend(self.clock.take(state.epoch))
        self._write_tables()
        self._write_environment()
        return state.history[first_row:]

    def _test(self, deployed: nn.Module) -> None:
        """Evaluate on the test set."""
        loader = self.experiment.loader
        with self.clock.phase("test"):
            loss, accuracy = evaluate(deployed, loader.test(), "deployed")
            _, trained = evaluate(self.experiment.model, loader.test(), "training")
            self._add("test/loss", loss)
            self._add("test/accuracy", accuracy)
            self._add("test/accuracy_training_forward", trained)
            self._add("test/gap", trained - accuracy)
            if batches := self.trial.training.reestimation_batches:
                plain = loader.plain_training(batches)
                reestimate_batch_norm(deployed, (images for images, _ in plain))
                _, accuracy = evaluate(deployed, loader.test(), "deployed")
                self._add("test/accuracy_reestimated", accuracy)

    def _write_environment(self) -> None:
        site, engine = self.site, self.experiment.engine.name
        facts = describe_environment(site.device, site.threads, self.started, time.time(), engine)
        images = self.experiment.loader.images
        facts["data"] = {
            "name": images.name, "digest": images.digest, "source": images.source,
        }  # fmt: skip
        self.folder.write_json("environment.json", facts)

    def save(self) -> None:
        """Write the checkpoint, then the tables up to it, so that they never run ahead of it."""
        with self.clock.phase("checkpoint"):
            made = self.experiment
            save_checkpoint(self.folder, self.code, self.state, made.model, made.optimizers)
            self._write_tables()
        self.saved_at = time.monotonic()

    def _progress(self) -> Progress:
        per_epoch, epochs = self.experiment.loader.steps_per_epoch, self.trial.training.epochs
        if not epochs:
            return Progress.end()
        step = self.state.epoch * per_epoch + self.state.batch
        recipe = self.trial.training
        factor = rate_factor(recipe.schedule, step / per_epoch, epochs)
        set_learning_rates(self.experiment.optimizers, factor)
        return Progress(
            step=step,
            total_steps=epochs * per_epoch,
            epoch=self.state.epoch,
            total_epochs=epochs,
            learning_rate=recipe.optimizer.learning_rate * factor,
        )

    def _validate(self) -> None:
        validation = self.experiment.loader.validation()
        if validation is not None and self.site.leads:
            with self.clock.phase("validate"):
                loss, accuracy = evaluate(self.experiment.model, validation, "deployed")
            self._add("validation/loss", loss)
            self._add("validation/accuracy", accuracy)

    def _due(self, epoch: int) -> list[DiagnosticEntry]:
        epochs = self.trial.training.epochs
        return [one for one in self.trial.diagnostics.of if one.due(epoch, epochs)]

    def _watched(self) -> bool:
        """Whether what is due at the end of the running epoch needs its last steps."""
        due = self._due(self.state.epoch + 1)
        windows = (diagnostics.entry(one.name).facts.get("window", False) for one in due)
        return self.site.leads and any(windows)

    def _watch(self, watched: bool) -> None:
        if watched:
            with self.clock.phase("diagnose"):
                left = self.experiment.loader.steps_per_epoch - self.state.batch
                self.window.see(self.state.memory, left)

    def _measure(self) -> None:
        model, state, wanted = self.experiment.model, self.state, self.trial.diagnostics
        layers, due = tuple(quantized_layers(model)), self._due(state.epoch)
        if not due or not layers or not self.site.leads:
            return
        with self.clock.phase("diagnose"):
            loader = self.experiment.loader
            measurement = Measurement(
                probe=Probe(
                    model,
                    *loader.diagnostic(wanted.images),
                    seed=self.trial.seed,
                    label_smoothing=self.trial.training.label_smoothing,
                ),
                epoch=state.epoch,
                layers=layers,
                held_out=lambda: loader.validation() or loader.plain_training(10),
                training=lambda: loader.plain_training(loader.steps_per_epoch),
                memory=state.memory,
            )
            chosen = [Chosen(one.name, one.options, one.layers) for one in due]
            found = measure(chosen, measurement, self.clock.phase)
            self.window.forget(state.memory)
        state.history.extend(found.network)
        state.layers.extend(found.layers)
        state.points.extend(found.points)

    def _fresh_network(self) -> nn.Module:
        return quantized(float_network(self.trial, self.experiment.loader), self.trial)

    def _add(self, name: str, value: float) -> None:
        self.state.history.append(Row(self.state.epoch, name, value))

    def _write_tables(self) -> None:
        self.folder.write_rows("history.parquet", self.state.history, Row)
        self.folder.write_rows("layers.parquet", self.state.layers, LayerRow)
        self.folder.write_rows("points.parquet", self.state.points, PointRow)
        self.folder.write_rows("seconds.parquet", self.state.seconds, PhaseRow)
