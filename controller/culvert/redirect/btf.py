"""Field offsets from the running kernel's own type information (BTF).

The format is documented in the kernel's ``Documentation/bpf/btf.rst``. Only what finding a field in
a struct needs is decoded. Offsets never come from header files: the headers installed on a node may
belong to another kernel version.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_KIND_ARRAY, _KIND_STRUCT, _KIND_UNION, _KIND_ENUM = 3, 4, 5, 6
_KIND_TYPEDEF, _KIND_VOLATILE, _KIND_CONST, _KIND_RESTRICT = 8, 9, 10, 11
_KIND_TYPE_TAG, _KIND_ENUM64 = 18, 19
_MODIFIERS = frozenset({_KIND_TYPEDEF, _KIND_VOLATILE, _KIND_CONST, _KIND_RESTRICT, _KIND_TYPE_TAG})
# Bytes that follow the 12-byte type record: (fixed, per member)
_TAIL = {
    1: (4, 0),
    _KIND_ARRAY: (12, 0),
    _KIND_STRUCT: (0, 12),
    _KIND_UNION: (0, 12),
    _KIND_ENUM: (0, 8),
    13: (0, 8),
    14: (4, 0),
    15: (0, 12),
    17: (4, 0),
    _KIND_ENUM64: (0, 12),
}


class BtfError(Exception):
    """The kernel's type information is missing, malformed, or lacks the field asked for."""


@dataclass(frozen=True, slots=True)
class _Type:
    kind: int
    vlen: int
    kind_flag: bool
    size_or_type: int
    tail: int


class Btf:
    """One parsed BTF blob."""

    def __init__(self, blob: bytes) -> None:
        """Index the types of ``blob``.

        Raises:
            BtfError: ``blob`` is not BTF.
        """
        if len(blob) < 24 or blob[:2] not in (b"\x9f\xeb", b"\xeb\x9f"):
            raise BtfError("the kernel's BTF has an unknown format")
        self._order = "<" if blob[:2] == b"\x9f\xeb" else ">"
        header = struct.unpack_from(self._order + "IIIII", blob, 4)
        header_len, type_off, type_len, string_off, string_len = header
        self._blob = blob
        self._strings = header_len + string_off
        self._strings_end = self._strings + string_len
        self._types: list[_Type] = [_Type(0, 0, False, 0, 0)]
        self._structs: dict[int, int] = {}
        position, end = header_len + type_off, header_len + type_off + type_len
        unpack = struct.Struct(self._order + "III").unpack_from
        while position < end:
            name_offset, info, size_or_type = unpack(blob, position)
            kind, vlen = info >> 24 & 0x1F, info & 0xFFFF
            if kind in (_KIND_STRUCT, _KIND_UNION) and name_offset:
                self._structs.setdefault(name_offset, len(self._types))
            self._types.append(_Type(kind, vlen, bool(info >> 31), size_or_type, position + 12))
            fixed, each = _TAIL.get(kind, (0, 0))
            position += 12 + fixed + each * vlen

    @classmethod
    def of_running_kernel(cls, path: Path = VMLINUX) -> Btf:
        """Parse the running kernel's BTF.

        Raises:
            BtfError: the kernel was built without it (CONFIG_DEBUG_INFO_BTF), or it is unreadable.
        """
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise BtfError(
                f"{path}: {error.strerror}; a kernel with CONFIG_DEBUG_INFO_BTF is needed"
            ) from error

    def _name(self, offset: int) -> str:
        start = self._strings + offset
        return self._blob[start : self._blob.index(b"\0", start, self._strings_end)].decode()

    def _members(self, type_id: int) -> list[tuple[str, int, int]]:
        """(name, type id, bit offset) of each member."""
        record = self._types[type_id]
        members = []
        for index in range(record.vlen):
            name, member_type, offset = struct.unpack_from(
                self._order + "III", self._blob, record.tail + 12 * index
            )
            bits = offset & 0xFFFFFF if record.kind_flag else offset
            members.append((self._name(name), member_type, bits))
        return members

    def _resolve(self, type_id: int) -> int:
        while self._types[type_id].kind in _MODIFIERS:
            type_id = self._types[type_id].size_or_type
        return type_id

    def _find(self, type_id: int, field: str) -> tuple[int, int] | None:
        """(bit offset, type id) of a field, also inside anonymous structs and unions."""
        for name, member_type, bits in self._members(type_id):
            if name == field:
                return bits, self._resolve(member_type)
            if not name:
                inner = self._resolve(member_type)
                if self._types[inner].kind in (_KIND_STRUCT, _KIND_UNION):
                    found = self._find(inner, field)
                    if found is not None:
                        return bits + found[0], found[1]
        return None

    def offset_bytes(self, struct_name: str, path: str) -> int:
        """Offset in bytes of ``path`` (fields joined by dots) inside ``struct_name``.

        Raises:
            BtfError: there is no such struct or field, or the field is a bit field that does not
                start on a byte.
        """
        type_id = next(
            (
                index
                for offset, index in self._structs.items()
                if self._name(offset) == struct_name and self._types[index].vlen
            ),
            None,
        )
        if type_id is None:
            raise BtfError(f"this kernel has no struct {struct_name}")
        total_bits = 0
        for field in path.split("."):
            found = self._find(type_id, field)
            if found is None:
                raise BtfError(f"this kernel's struct {struct_name} has no field {path}")
            total_bits += found[0]
            type_id = found[1]
        if total_bits % 8:
            raise BtfError(f"{struct_name}.{path} is a bit field")
        return total_bits // 8
