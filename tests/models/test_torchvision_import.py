"""A torchvision that does not belong to the installed torch is explained, not shown as a trace."""

import sys

import pytest

from qbench.errors import UsageError
from qbench.models.torchvision_import import classification_models, import_torchvision


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Put a torchvision with the given source text in front of the installed one."""

    def place(source):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            monkeypatch.delitem(sys.modules, name)
        package = tmp_path / "torchvision"
        package.mkdir()
        (package / "__init__.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return package

    return place


def test_a_cuda_torchvision_beside_a_cpu_torch_is_one_sentence(fake):
    fake("raise RuntimeError('operator torchvision::nms does not exist')")
    with pytest.raises(UsageError) as caught:
        import_torchvision()
    sentence = str(caught.value)
    assert "operator torchvision::nms does not exist" in sentence
    assert "CPU" in sentence
    assert "CUDA" in sentence
    assert "pip install --force-reinstall torch torchvision" in sentence
    assert "\n" not in sentence


def test_other_errors_are_not_taken_for_it(fake):
    fake("raise RuntimeError('something else')")
    with pytest.raises(RuntimeError, match="something else"):
        import_torchvision()


def test_a_missing_torchvision_is_one_sentence(fake, monkeypatch):
    fake("")
    monkeypatch.setitem(sys.modules, "torchvision", None)  # what import takes for "not there"
    with pytest.raises(UsageError, match="torchvision is not installed; install it"):
        import_torchvision()


def test_a_module_that_torchvision_misses_is_not_taken_for_torchvision(fake):
    fake("import no_such_module_of_anyone")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_anyone"):
        import_torchvision()


def test_names_are_read_without_importing(fake):
    package = fake("raise RuntimeError('imported')")
    (package / "models").mkdir()
    (package / "models" / "net.py").write_text(
        "@register_model()\n@handle_legacy_interface(x=1)\ndef net2(a):\n    pass\n\n"
        "@register_model()\ndef net1(a):\n    pass\n\ndef other(a):\n    pass\n"
    )
    assert classification_models() == ("net1", "net2")
