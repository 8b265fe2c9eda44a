"""A study file, with overrides, as a checked value; every fault is one sentence."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from qbench.errors import UsageError
from qbench.registry import load_plugin
from qbench.study.check import check_study
from qbench.study.document import read_document
from qbench.study.overrides import override
from qbench.study.schema import Study
from qbench.study.sentences import SettingError, refused

__all__ = ["load_study"]


def load_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read, override and check a study; nothing that it names is imported.

    Args:
        path: The study file.
        overrides: ``key=value`` with dotted keys, such as ``training.epochs=1``.

    Returns:
        The study, its plug-ins in the form that a worker can load.

    Raises:
        UsageError: One sentence with the file and line, or the override, of what is wrong.
    """
    document = read_document(path)
    for text in overrides:
        override(document, text)
    try:
        study = _validated(document.values)
        plugins = [
            _load_plugin(name, path.parent, index) for index, name in enumerate(study.plugins)
        ]
        study = study.model_copy(update={"plugins": tuple(plugins)})
        check_study(study)
    except SettingError as error:
        raise document.located(error) from None
    return study


def _validated(values: dict[str, object]) -> Study:
    try:
        # JSON's strict mode takes lists for tuples, but neither "20" nor true for a number
        return Study.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise refused(error, Study) from None


def _load_plugin(name: str, folder: Path, index: int) -> str:
    path = ("plugins", index)
    try:
        return load_plugin(name, folder)
    except UsageError as error:
        raise SettingError(path, str(error)) from None
    except Exception as error:  # whatever another's source file may raise while it is read
        sentence = f"the plug-in '{name}' cannot be read: {type(error).__name__}: {error}"
        raise SettingError(path, sentence) from None
