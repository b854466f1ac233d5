"""Decoders are silenced in every thread, and other modules are not."""

import logging
import sys
import threading
import warnings

import pytest

from fracture_edge.images.quiet import quiet


def warn_from(module: str) -> None:
    warnings.warn_explicit("odd", UserWarning, f"{module}.py", 1, module=module)


def heard(module: str) -> int:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quiet():
            warn_from(module)
    return len(caught)


@pytest.mark.parametrize(
    ("module", "expected"),
    [("PIL.TiffImagePlugin", 0), ("pydicom.valuerep", 0), ("fracture_edge.images.dicom", 0), ("elsewhere", 1)],
)
def test_modules_whose_warnings_are_silenced(module: str, expected: int) -> None:
    assert heard(module) == expected


@pytest.mark.parametrize("name", ["pydicom", "pydicom.pixels.decoders.base"])
def test_log_of_pydicom(name: str, caplog: pytest.LogCaptureFixture) -> None:
    import pydicom  # noqa: F401

    log = logging.getLogger(name)
    with quiet():
        log.critical("PatientName is odd")
    log.warning("after")
    assert [record.message for record in caplog.records] == ["after"]


def test_log_of_pydicom_when_it_is_imported_while_another_thread_is_inside(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import pydicom

    monkeypatch.delitem(sys.modules, "pydicom")
    with quiet():
        monkeypatch.setitem(sys.modules, "pydicom", pydicom)
        with quiet():
            logging.getLogger("pydicom").warning("PatientName is odd")
        logging.getLogger("pydicom").warning("PatientName is odd")
    assert not caplog.records


def test_warnings_stay_off_until_the_last_thread_leaves() -> None:
    filters = list(warnings.filters)
    inside, leave, left = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            inside.set()
            leave.wait(10)
        left.set()

    thread = threading.Thread(target=other)
    with quiet():
        thread.start()
        assert inside.wait(10)
        leave.set()
        assert left.wait(10)
        assert warnings.filters != filters
    thread.join()
    assert list(warnings.filters) == filters


def test_an_exception_restores_the_warnings() -> None:
    filters = list(warnings.filters)
    with pytest.raises(KeyError), quiet():
        raise KeyError
    assert list(warnings.filters) == filters
