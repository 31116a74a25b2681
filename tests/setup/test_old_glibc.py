"""On small modules built here: one library has the new versions, an older one has not."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from elftools.elf.elffile import ELFFile

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="builds ELF modules for x86_64 with gcc",
)

NEW_LIBRARY = """
long __isoc23_strtol(const char *s, char **e, int b) { return -1; }
void __cxa_call_terminate(void *p) {}
void _ZSt21ios_base_library_initv(void) {}
void other(void) {}
"""
NEW_VERSIONS = """
GLIBC_2.38 { global: __isoc23_strtol; OTHER };
GLIBCXX_3.4.32 { global: _ZSt21ios_base_library_initv; };
CXXABI_1.3.15 { global: __cxa_call_terminate; };
"""
# libm comes after libc and has a GLIBC_2.2.5 of its own, as in the wheel of TFDV.
MODULE = """
#include <math.h>
#include <stdlib.h>
extern long __isoc23_strtol(const char *, char **, int);
extern void __cxa_call_terminate(void *);
extern void _ZSt21ios_base_library_initv(void);
extern void other(void);
void (*keep)(void) = _ZSt21ios_base_library_initv;
double (*cosine)(double) = cos;
long parse(const char *text) { return __isoc23_strtol(text, 0, 10); }
void fail(void) { __cxa_call_terminate(0); abort(); }
MORE
"""


def _gcc(source: Path, target: Path, *options: str) -> None:
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-w", "-o", str(target), str(source), *options],
        check=True,
    )


def _build(folder: Path, unknown_symbol: bool = False) -> Path:
    """Links module.so to a library with the new versions; leaves an old one to run with."""
    library = folder / "libnewer.so"
    (folder / "library.c").write_text(NEW_LIBRARY)
    (folder / "library.map").write_text(
        NEW_VERSIONS.replace("OTHER", "other;" if unknown_symbol else "")
    )
    _gcc(
        folder / "library.c",
        library,
        f"-Wl,--version-script={folder / 'library.map'},-soname,libnewer.so",
    )
    (folder / "module.c").write_text(
        MODULE.replace("MORE", "void more(void) { other(); }" if unknown_symbol else "")
    )
    module = folder / "module.so"
    _gcc(
        folder / "module.c",
        module,
        *("-Wl,--no-as-needed", f"-L{folder}", "-lnewer", "-lc", "-lm", "-Wl,-rpath,$ORIGIN"),
    )
    (folder / "old.c").write_text("int of_old_times;")
    (folder / "old.map").write_text("GLIBCXX_3.4 { global: of_old_times; };")
    _gcc(
        folder / "old.c",
        library,
        f"-Wl,--version-script={folder / 'old.map'},-soname,libnewer.so",
    )
    return module


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return _build(tmp_path)


def _undefined(module: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Name -> (library, version, binding) of each undefined symbol, read by pyelftools."""
    with module.open("rb") as file:
        elf = ELFFile(file)
        versions = {}
        for need, auxiliaries in elf.get_section_by_name(".gnu.version_r").iter_versions():
            for auxiliary in auxiliaries:
                versions[auxiliary["vna_other"]] = (need.name, auxiliary.name)
        numbers = elf.get_section_by_name(".gnu.version")
        found: dict[str, list[tuple[str, str, str]]] = {}
        for index, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
            number = numbers.get_symbol(index)["ndx"]
            if symbol["st_shndx"] == "SHN_UNDEF" and number in versions:
                entry = (*versions[number], symbol["st_info"]["bind"])
                found.setdefault(symbol.name, []).append(entry)
        return found


def _weak_versions(module: Path) -> set[str]:
    with module.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".gnu.version_r")
        return {
            auxiliary.name
            for _, auxiliaries in section.iter_versions()
            for auxiliary in auxiliaries
            if auxiliary["vna_flags"] & 2
        }


def _call(module: Path, code: str) -> subprocess.CompletedProcess[str]:
    start = f"import ctypes; module = ctypes.CDLL({str(module)!r}); "
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True)


def test_the_edited_module_loads_and_parses_where_the_original_is_refused(old_glibc, module):
    refused = _call(module, "")
    assert "version `GLIBC" in refused.stderr or "version `CXXABI" in refused.stderr

    assert old_glibc.edit_file(module)

    parsed = _call(module, "module.parse.restype = ctypes.c_long; print(module.parse(b'42'))")
    assert (parsed.stdout, parsed.stderr) == ("42\n", "")
    assert _call(module, "module.fail()").returncode == -6  # SIGABRT


def test_each_symbol_is_pointed_at_its_old_equivalent(old_glibc, module):
    before = _undefined(module)
    assert before["__isoc23_strtol"] == [("libnewer.so", "GLIBC_2.38", "STB_GLOBAL")]

    old_glibc.edit_file(module)

    after = _undefined(module)
    # libc's version, although libm asks for one of that name later in the file.
    assert after["strtol"] == [("libc.so.6", "GLIBC_2.2.5", "STB_GLOBAL")]
    assert after["abort"] == [("libc.so.6", "GLIBC_2.2.5", "STB_GLOBAL")] * 2
    assert after["_ZSt21ios_base_library_initv"] == [("libnewer.so", "GLIBCXX_3.4.32", "STB_WEAK")]
    assert not {"__isoc23_strtol", "__cxa_call_terminate"} & after.keys()
    assert _weak_versions(module) == {"GLIBC_2.38", "GLIBCXX_3.4.32", "CXXABI_1.3.15"}


def test_no_byte_changes_but_those_of_the_symbols_and_versions(old_glibc, module):
    before = module.read_bytes()

    after = old_glibc.edited(before)

    changed = [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    with module.open("rb") as file:
        elf = ELFFile(file)
        ranges = [
            range(section["sh_offset"], section["sh_offset"] + section["sh_size"])
            for section in map(
                elf.get_section_by_name, (".dynsym", ".gnu.version", ".gnu.version_r")
            )
        ]
    assert changed
    assert all(any(at in span for span in ranges) for at in changed)
    # 3 flags, 2 names of up to 4 bytes with 2 versions of 2 bytes, 1 binding.
    assert len(changed) <= 3 + 2 * 4 + 2 * 2 + 1


def test_a_second_edit_changes_nothing(old_glibc, module):
    assert old_glibc.edit_file(module) is True
    once = module.read_bytes()

    assert old_glibc.edit_file(module) is False

    assert module.read_bytes() == once


def test_the_other_end_of_a_hard_link_stays_as_it_was(old_glibc, module, tmp_path):
    cached = tmp_path / "cached.so"
    os.link(module, cached)
    original = cached.read_bytes()
    module.chmod(0o751)

    old_glibc.edit_file(module)

    assert cached.read_bytes() == original
    assert module.read_bytes() != original
    assert module.stat().st_mode & 0o777 == 0o751
    assert not list(tmp_path.glob("*.partial"))


def test_an_unknown_symbol_is_refused_and_the_file_left_alone(old_glibc, tmp_path):
    module = _build(tmp_path, unknown_symbol=True)
    original = module.read_bytes()

    with pytest.raises(old_glibc.RefusedError, match=r"unknown symbols need .*: other$"):
        old_glibc.edit_file(module)

    assert module.read_bytes() == original


def test_a_module_that_needs_nothing_new_is_refused(old_glibc, tmp_path):
    (tmp_path / "plain.c").write_text("#include <stdlib.h>\nvoid f(void) { abort(); }")
    _gcc(tmp_path / "plain.c", tmp_path / "plain.so")

    with pytest.raises(old_glibc.RefusedError, match="asks for none of the versions"):
        old_glibc.edit_file(tmp_path / "plain.so")


def test_what_is_no_elf_file_is_refused(old_glibc):
    with pytest.raises(old_glibc.RefusedError, match="not an ELF file"):
        old_glibc.edited(b"#!/bin/sh\n")


@pytest.mark.parametrize(
    ("libc", "system", "machine", "expected"),
    [
        (("glibc", "2.36"), "Linux", "x86_64", True),
        (("glibc", "2.35"), "Linux", "x86_64", True),
        (("glibc", "2.38"), "Linux", "x86_64", False),
        (("glibc", "2.41"), "Linux", "x86_64", False),
        (("glibc", "2.36"), "Linux", "aarch64", False),
        (("", ""), "Linux", "x86_64", False),  # musl
        (("", ""), "Darwin", "arm64", False),
    ],
)
def test_only_an_old_glibc_on_x86_64_needs_the_edit(old_glibc, libc, system, machine, expected):
    assert old_glibc.needs_edit(libc, system, machine) is expected


def _site_packages(folder: Path, old_glibc: ModuleType, module: Path, version: str) -> Path:
    site = folder / "site-packages"
    for distribution, relative in old_glibc.MODULES.items():
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        (site / relative).parent.mkdir(parents=True)
        shutil.copy(module, site / relative)
    return site


@pytest.fixture
def on_glibc(monkeypatch: pytest.MonkeyPatch):
    def pretend(version: str) -> None:
        monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", version))

    return pretend


def test_both_modules_of_a_site_packages_are_edited(old_glibc, module, tmp_path, on_glibc, capsys):
    site = _site_packages(tmp_path, old_glibc, module, "1.21.0")
    on_glibc("2.36")

    assert old_glibc.main([str(site)]) == 0
    assert capsys.readouterr().out == (
        "  ml-metadata: made loadable on this glibc\n"
        "  tensorflow-data-validation: made loadable on this glibc\n"
    )

    assert old_glibc.main([str(site)]) == 0
    assert "ml-metadata: is loadable on this glibc" in capsys.readouterr().out
    for relative in old_glibc.MODULES.values():
        assert "strtol" in _undefined(site / relative)


def test_another_wheel_version_is_refused(old_glibc, module, tmp_path, on_glibc, capsys):
    site = _site_packages(tmp_path, old_glibc, module, "1.22.0")
    on_glibc("2.36")

    assert old_glibc.main([str(site)]) == 1

    assert capsys.readouterr().err == "ml-metadata 1.22.0: only 1.21.0 is known.\n"
    for relative in old_glibc.MODULES.values():
        assert (site / relative).read_bytes() == module.read_bytes()


def test_a_missing_module_is_named(old_glibc, module, tmp_path, on_glibc, capsys):
    site = _site_packages(tmp_path, old_glibc, module, "1.21.0")
    missing = site / old_glibc.MODULES["ml-metadata"]
    missing.unlink()
    on_glibc("2.36")

    assert old_glibc.main([str(site)]) == 1

    assert str(missing) in capsys.readouterr().err


def test_a_newer_glibc_leaves_the_modules_alone(old_glibc, module, tmp_path, on_glibc, capsys):
    site = _site_packages(tmp_path, old_glibc, module, "1.21.0")
    on_glibc("2.39")

    assert old_glibc.main([str(site)]) == 0

    assert capsys.readouterr().out == ""
    for relative in old_glibc.MODULES.values():
        assert (site / relative).read_bytes() == module.read_bytes()


def test_the_modules_of_this_environment_load(old_glibc):
    for name in (
        "ml_metadata.metadata_store.pywrap.metadata_store_extension",
        "tensorflow_data_validation.pywrap.tensorflow_data_validation_extension",
    ):
        done = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
