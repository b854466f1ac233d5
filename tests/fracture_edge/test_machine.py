import ctypes
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from fracture_edge import machine
from fracture_edge.runtimes.session import session_options


@pytest.mark.parametrize(
    ("kind", "features", "asked", "flags", "exact"),
    [
        ("x86_64", {"AVX512VNNI": True}, False, [], True),
        ("x86_64", {"AVX512VNNI": False}, True, [], True),
        ("x86_64", {"AVX512VNNI": False}, None, ["avx_vnni"], True),
        # An emulated processor: the flags are those of the host.
        ("x86_64", {"AVX512VNNI": False}, False, ["avx_vnni"], False),
        ("AMD64", {"AVX512F": True, "AVX512VNNI": False}, None, ["avx512f"], False),
        ("AMD64", {}, None, [], False),
        ("aarch64", {}, None, [], True),
        ("arm64", {}, None, [], True),
    ],
)
def test_where_int8_sums_are_exact(
    kind: str,
    features: dict[str, bool],
    asked: bool | None,
    flags: list[str],
    exact: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: kind)
    monkeypatch.setattr(machine, "_numpy_features", lambda: features)
    monkeypatch.setattr(machine, "_cpuid_avx_vnni", lambda: asked)
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)
    assert machine.exact_int8_sums() is exact


@pytest.mark.parametrize(("exact", "wider"), [(True, None), (False, "1")])
def test_sessions_use_wide_sums_only_where_needed(
    exact: bool, wider: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fracture_edge.runtimes.session.exact_int8_sums", lambda: exact)
    options = session_options(1)
    if wider is None:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry("session.x64quantprecision")
    else:
        assert options.get_session_config_entry("session.x64quantprecision") == wider


def test_cpuid_agrees_with_the_system() -> None:
    if not Path("/proc/cpuinfo").is_file() or os.uname().machine != "x86_64":
        pytest.skip("only Linux on x86 tells both")
    assert machine._numpy_features()["AVX512VNNI"] == ("avx512_vnni" in machine.cpu_flags())
    assert machine._cpuid_avx_vnni() in (None, "avx_vnni" in machine.cpu_flags())


@pytest.mark.parametrize(("register", "there"), [(0x1C30, True), (0x1C20, False), (0, False)])
def test_cpuid_bit_of_avx_vnni(register: int, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """0x1c30 is the register of a Sapphire Rapids."""
    asked = []

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint)
    def leaf(number: int) -> int:
        asked.append(number)
        return ctypes.addressof(bits)

    bits = (ctypes.c_uint32 * 4)(register, 0, 0, 0)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(__x86_get_cpuid_feature_leaf=leaf))
    assert (machine._cpuid_avx_vnni(), asked) == (there, [6])


def test_avx_vnni_is_unknown_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert machine._cpuid_avx_vnni() is None
