"""Makes two wheels that were built for glibc 2.39 load on an older glibc.

The Linux wheels of ml-metadata and tensorflow-data-validation 1.21.0 are tagged
manylinux_2_39, so they are refused on Debian 12, Ubuntu 22.04, RHEL 9 and Colab. Of
what is newer there they need only a handful of symbols, all of which have an older
equivalent. This script edits the one extension module in each:

  version needs   GLIBC_2.38, GLIBCXX_3.4.32 and CXXABI_1.3.15 become weak: the loader
                  no longer refuses the file because the system's library lacks them.
  __isoc23_strto* are what a C23 compiler makes of strtol and its like, which differ in
                  accepting 0b101. They become strtol…, version GLIBC_2.2.5. The old name
                  is a suffix of the new one, so the string is there already.
  __cxa_call_terminate  ends the process after an exception where none may pass; it
                  becomes abort, which ends it too.
  _ZSt21ios_base_library_initv  only forces the stream library's initialisation, which
                  importing libstdc++ does anyway; it becomes weak, and stays unresolved.

Nothing else is touched: any other wheel version, or any other symbol that needs one of
those versions, is refused. The edited file replaces the old one by a rename, for
installers hard-link files from a cache that must stay as it is.

    python scripts/old_glibc.py SITE_PACKAGES
"""

import os
import platform
import struct
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

WHEEL_VERSION = "1.21.0"
MODULES = {
    "ml-metadata": "ml_metadata/metadata_store/pywrap/metadata_store_extension.so",
    "tensorflow-data-validation": (
        "tensorflow_data_validation/pywrap/tensorflow_data_validation_extension.so"
    ),
}

LIBC = "libc.so.6"  # other libraries may be asked for a GLIBC_2.2.5 of their own
NEW_VERSIONS = {"GLIBC_2.38", "GLIBCXX_3.4.32", "CXXABI_1.3.15"}
C23_PREFIX = "__isoc23_"
C23_SYMBOLS = {C23_PREFIX + name for name in ("strtol", "strtoll", "strtoul", "strtoull")}
CALL_TERMINATE = "__cxa_call_terminate"
STREAM_INIT = "_ZSt21ios_base_library_initv"
KNOWN_SYMBOLS = C23_SYMBOLS | {CALL_TERMINATE, STREAM_INIT}

_WEAK_VERSION = 0x2  # VER_FLG_WEAK, in vna_flags
_WEAK_SYMBOL = 2  # STB_WEAK, upper half of st_info
_SYMBOL_BYTES = 24  # sizeof(Elf64_Sym)


class RefusedError(Exception):
    """The file is not the one this script was written for; it was left alone."""


@dataclass(frozen=True)
class VersionNeed:
    """One Elf64_Vernaux: a version that some library must define."""

    library: str
    name: str
    index: int
    offset: int
    weak: bool


@dataclass(frozen=True)
class Symbol:
    """One undefined dynamic symbol."""

    name: str
    name_offset: int
    offset: int
    version_offset: int
    version: int
    info: int


def needs_edit(libc: tuple[str, str], system: str, machine: str) -> bool:
    """Whether this system's glibc lacks what the wheels ask for."""
    name, version = libc
    if system != "Linux" or machine != "x86_64" or name != "glibc":
        return False
    major, minor = (int(part) for part in version.split(".")[:2])
    return (major, minor) < (2, 38)


def edited(content: bytes) -> bytes | None:
    """Returns the module's new content; None if it had been edited before.

    Raises:
      RefusedError: if the file needs anything new that this script does not know.
    """
    # Installed with the rest of the lock; not needed to read this file's constants.
    import io

    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(content))
    except ELFError as error:
        raise RefusedError(f"it is not an ELF file ({error})") from error
    needs = _version_needs(elf, content)
    new = {need.index: need for need in needs if need.name in NEW_VERSIONS}
    symbols = _undefined_symbols(elf, content)
    asking = [symbol for symbol in symbols if symbol.version & 0x7FFF in new]
    unknown = sorted(symbol.name for symbol in asking if symbol.name not in KNOWN_SYMBOLS)
    if unknown:
        raise RefusedError(f"unknown symbols need a newer glibc or libstdc++: {', '.join(unknown)}")
    if not new:
        raise RefusedError("it asks for none of the versions that this script knows")
    if all(need.weak for need in new.values()):
        return None
    return _apply(bytearray(content), needs, symbols, asking)


def _apply(
    data: bytearray, needs: list[VersionNeed], symbols: list[Symbol], asking: list[Symbol]
) -> bytes:
    base_version = {(need.library, need.name): need.index for need in needs}.get(
        (LIBC, "GLIBC_2.2.5")
    )
    abort = next((symbol for symbol in symbols if symbol.name == "abort"), None)
    if base_version is None or abort is None:
        raise RefusedError("it does not use abort and GLIBC_2.2.5, which the edit points to")
    for need in needs:
        if need.name in NEW_VERSIONS:
            flags = struct.unpack_from("<H", data, need.offset + 4)[0]
            struct.pack_into("<H", data, need.offset + 4, flags | _WEAK_VERSION)
    for symbol in asking:
        if symbol.name in C23_SYMBOLS:
            struct.pack_into("<I", data, symbol.offset, symbol.name_offset + len(C23_PREFIX))
            struct.pack_into("<H", data, symbol.version_offset, base_version)
        elif symbol.name == CALL_TERMINATE:
            struct.pack_into("<I", data, symbol.offset, abort.name_offset)
            struct.pack_into("<H", data, symbol.version_offset, abort.version)
        else:
            data[symbol.offset + 4] = _WEAK_SYMBOL << 4 | symbol.info & 0xF
    return bytes(data)


def _version_needs(elf, content: bytes) -> list[VersionNeed]:
    section = elf.get_section_by_name(".gnu.version_r")
    names = elf.get_section_by_name(".dynstr")
    if section is None or names is None:
        raise RefusedError("it is not a dynamically linked module with symbol versions")
    needs, offset = [], section["sh_offset"]
    while True:
        _, count, file, auxiliary, following = struct.unpack_from("<HHIII", content, offset)
        library = names.get_string(file)
        entry = offset + auxiliary
        for _ in range(count):
            _, flags, index, name, step = struct.unpack_from("<IHHII", content, entry)
            weak = bool(flags & _WEAK_VERSION)
            needs.append(VersionNeed(library, names.get_string(name), index, entry, weak))
            entry += step
        if not following:
            return needs
        offset += following


def _undefined_symbols(elf, content: bytes) -> list[Symbol]:
    table = elf.get_section_by_name(".dynsym")
    versions = elf.get_section_by_name(".gnu.version")["sh_offset"]
    found = []
    for number, symbol in enumerate(table.iter_symbols()):
        if symbol["st_shndx"] != "SHN_UNDEF" or not symbol.name:
            continue
        offset = table["sh_offset"] + number * _SYMBOL_BYTES
        version_offset = versions + 2 * number
        found.append(
            Symbol(
                symbol.name,
                symbol.entry["st_name"],
                offset,
                version_offset,
                struct.unpack_from("<H", content, version_offset)[0],
                content[offset + 4],
            )
        )
    return found


def edit_file(path: Path) -> bool:
    """Edits one module, in a new file that takes its place. False if it was edited before."""
    content = edited(path.read_bytes())
    if content is None:
        return False
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.chmod(path.stat().st_mode)
    os.replace(partial, path)
    return True


def installed_version(distribution: str, site_packages: Path) -> str | None:
    """Version of a distribution in that folder; None if it is not there."""
    for found in metadata.distributions(name=distribution, path=[str(site_packages)]):
        return found.version
    return None


def main(arguments: list[str]) -> int:
    """Edits both modules below a site-packages folder, where this system needs it."""
    if len(arguments) != 1:
        print("usage: python scripts/old_glibc.py SITE_PACKAGES", file=sys.stderr)
        return 2
    site_packages = Path(arguments[0])
    if not needs_edit(platform.libc_ver(), platform.system(), platform.machine()):
        return 0
    for distribution, relative in MODULES.items():
        version = installed_version(distribution, site_packages)
        if version != WHEEL_VERSION:
            print(f"{distribution} {version}: only {WHEEL_VERSION} is known.", file=sys.stderr)
            return 1
        try:
            done = edit_file(site_packages / relative)
        except (RefusedError, OSError) as reason:
            print(f"{site_packages / relative}: left as it is: {reason}.", file=sys.stderr)
            return 1
        print(f"  {distribution}: {'made loadable' if done else 'is loadable'} on this glibc")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
