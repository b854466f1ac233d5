"""Domains of the operators of an ONNX file, read without the `onnx` package, which the device does not have."""

from collections.abc import Iterator

#: Fields of ONNX's protocol buffers (onnx.proto): graph of a model, node of a graph, domain of a node.
_GRAPH, _NODE, _DOMAIN = 7, 1, 7
#: Kinds of fields of protocol buffers: number of variable length, 8 bytes, bytes with their length, 4 bytes.
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def operator_domains(data: bytes) -> set[str]:
    """Return the domains of all nodes of a model's main graph; that of ONNX's own operators is empty.

    Args:
        data: Content of an ``.onnx`` file that onnxruntime has opened.

    Raises:
        ValueError: The content is no protocol buffer.
    """
    content = memoryview(data)
    found = set()
    for graph in _fields(content, _GRAPH):
        for node in _fields(graph, _NODE):
            domains = [bytes(domain).decode() for domain in _fields(node, _DOMAIN)]
            found.add(domains[-1] if domains else "")
    return found


def _fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the values of a field that holds bytes, and pass over all other fields."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_EIGHT, _FOUR):
            length = 8 if kind == _EIGHT else 4
        else:
            raise ValueError("not a protocol buffer")
        if kind == _BYTES and key >> 3 == wanted:
            yield message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("not a protocol buffer")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
