import os
from pathlib import Path

import pytest

from fracture_edge import machine
from fracture_edge.session import session_options


@pytest.mark.parametrize(
    ("kind", "features", "flags", "exact"),
    [
        ("x86_64", {"AVX512VNNI": True}, [], True),
        ("x86_64", {"AVX512VNNI": False}, ["avx_vnni"], True),
        ("AMD64", {"AVX512F": True, "AVX512VNNI": False}, ["avx512f"], False),
        ("AMD64", {}, [], False),
        ("aarch64", {}, [], True),
        ("arm64", {}, [], True),
    ],
)
def test_where_int8_sums_are_exact(
    kind: str, features: dict[str, bool], flags: list[str], exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: kind)
    monkeypatch.setattr(machine, "_numpy_features", lambda: features)
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)
    assert machine.exact_int8_sums() is exact


@pytest.mark.parametrize(("exact", "wider"), [(True, None), (False, "1")])
def test_sessions_sum_wider_only_where_it_is_needed(
    exact: bool, wider: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fracture_edge.session.exact_int8_sums", lambda: exact)
    options = session_options(1)
    if wider is None:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry("session.x64quantprecision")
    else:
        assert options.get_session_config_entry("session.x64quantprecision") == wider


def test_the_processors_own_word_agrees_with_the_systems() -> None:
    if not Path("/proc/cpuinfo").is_file() or os.uname().machine != "x86_64":
        pytest.skip("only Linux on x86 tells both")
    assert machine._numpy_features()["AVX512VNNI"] == ("avx512_vnni" in machine.cpu_flags())
