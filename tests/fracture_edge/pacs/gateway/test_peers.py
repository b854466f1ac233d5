"""Addresses of peers on the command line."""

import pytest

from fracture_edge.errors import FractureEdgeError
from fracture_edge.pacs.gateway.peers import AllowedPeer, Target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ORTHANC@10.0.0.5:4242", Target("ORTHANC", "10.0.0.5", 4242)),
        ("tls:PACS ONE@pacs.example:2762", Target("PACS ONE", "pacs.example", 2762, tls=True)),
        ("A/~B@[::1]:104", Target("A/~B", "::1", 104)),
    ],
)
def test_targets(text: str, expected: Target) -> None:
    target = Target.parse(text)
    assert target == expected
    assert str(target) == text
    # One name of a folder, without separators, and back.
    assert "/" not in target.folder
    assert Target.from_folder(target.folder) == target


@pytest.mark.parametrize("text", ["ORTHANC", "ORTHANC@host", "@host:104", "A@host:0", "A@host:70000", "A@::1:104"])
def test_invalid_targets(text: str) -> None:
    with pytest.raises(FractureEdgeError, match="must"):
        Target.parse(text)


def test_too_long_ae_title() -> None:
    with pytest.raises(FractureEdgeError, match="must have 1 to 16 characters of ASCII, without backslash"):
        Target.parse("ABCDEFGHIJKLMNOPQ@host:104")


@pytest.mark.parametrize(
    ("text", "title", "address", "admitted"),
    [
        ("CR1", "CR1", "10.1.2.3", True),
        ("CR1", "CR2", "10.1.2.3", False),
        ("CR1@10.1.2.3", "CR1", "10.1.2.3", True),
        ("CR1@10.1.2.3", "CR1", "10.1.2.4", False),
        ("*@10.1.0.0/16", "ANY", "10.1.2.4", True),
        ("*@10.1.0.0/16", "ANY", "::ffff:10.1.2.4", True),
        ("*@10.1.0.0/16", "ANY", "fe80::1", False),
        ("*@fe80::/10", "ANY", "fe80::1", True),
    ],
)
def test_allowed_peers(text: str, title: str, address: str, admitted: bool) -> None:
    assert AllowedPeer.parse(text).admits(title, address) is admitted


@pytest.mark.parametrize("text", ["CR1@host", "@10.0.0.1", "CR1@10.0.0.0/99"])
def test_invalid_allowed_peers(text: str) -> None:
    with pytest.raises(FractureEdgeError, match="must"):
        AllowedPeer.parse(text)
