"""What the doctor finds, and what it says to do."""

import importlib.util
import io
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.cli import doctor
from pipeline.cli.doctor import Check
from trainer.backbones.table import BACKBONES

INCEPTION = BACKBONES["inception_v3"]


def test_missing_weights_are_told_where_to_be_put(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "reachable", lambda url: False)

    check = doctor.check_weights(INCEPTION)

    assert check.status == "warn"
    assert str(tmp_path / ".keras" / "models" / INCEPTION.imagenet_file(299)) in check.advice
    assert INCEPTION.imagenet_url(299) in check.advice


def test_weights_that_are_cached_are_not_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "reachable", lambda url: pytest.fail("asked the network"))
    (tmp_path / ".keras" / "models").mkdir(parents=True)
    (tmp_path / ".keras" / "models" / INCEPTION.imagenet_file(299)).write_bytes(b"weights")

    check = doctor.check_weights(INCEPTION)

    assert (check.status, check.found) == ("ok", f"in {tmp_path / '.keras' / 'models'}")


def test_weights_that_can_be_downloaded_are_fine(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "reachable", lambda url: url == INCEPTION.imagenet_url(299))

    assert doctor.check_weights(INCEPTION).found == "can be downloaded"


@pytest.mark.parametrize(
    ("implementation", "version", "status"),
    [
        ("CPython", (3, 10), "ok"),
        ("CPython", (3, 13), "ok"),
        ("CPython", (3, 9), "fail"),
        ("CPython", (3, 14), "fail"),
        ("PyPy", (3, 11), "fail"),
    ],
)
def test_a_python_without_wheels_fails(implementation, version, status):
    check = doctor.check_python(implementation, version)

    assert check.status == status
    assert ("make setup PYTHON=" in check.advice) == (status == "fail")


@pytest.mark.parametrize(
    ("platform", "status"),
    [
        (("Linux", "x86_64", ("glibc", "2.36")), "ok"),
        (("Darwin", "arm64", ("", "")), "ok"),
        (("Linux", "aarch64", ("glibc", "2.36")), "fail"),
        (("Linux", "x86_64", ("", "")), "fail"),  # musl
    ],
)
def test_a_platform_without_wheels_fails(platform, status):
    assert doctor.check_platform(*platform).status == status


def test_a_package_that_is_missing_fails():
    assert doctor.check_version("tfx").found == "1.21.0"
    assert doctor.check_version("no-such-package") == Check(
        "no-such-package", "fail", "not installed", doctor.SET_UP_AGAIN
    )


@pytest.mark.parametrize(("python", "status"), [((3, 11), "fail"), ((3, 12), "warn")])
def test_kfp_may_be_missing_where_tfx_does_not_bring_it(monkeypatch, python, status):
    def missing(name: str) -> str:
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", missing)
    monkeypatch.setattr(sys, "version_info", python)

    assert doctor.check_version("kfp").status == status


def test_formats_are_found_and_the_others_named_with_what_installs_them(monkeypatch):
    every = doctor.check_formats()
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnx" else there(name)
    )

    fewer = doctor.check_formats()

    tflite = "tflite, tflite_float16, tflite_int8"
    assert (every.status, every.found) == ("ok", f"{tflite}, onnx")
    assert (fewer.status, fewer.found) == ("ok", f'{tflite}; for more: pip install "thaw[onnx]"')


def test_an_extension_that_does_not_load_shows_the_loaders_words(monkeypatch, tmp_path):
    (tmp_path / "broken_module.py").write_text(
        'raise ImportError("version `GLIBC_2.38\' not found")'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    check = doctor.check_extension("ml-metadata", "broken_module")

    assert check.status == "fail"
    assert check.found == "ImportError: version `GLIBC_2.38' not found"
    assert "make setup" in check.advice


def test_a_child_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(doctor, "_LOAD_TIMEOUT_SECS", 0.5)

    ok, output = doctor._child("import time; time.sleep(60)")

    assert (ok, output) == (False, "timed out after 0.5 s")


def _devices(monkeypatch, output: str, driver: bool) -> Check:
    monkeypatch.setattr(doctor, "_child", lambda code: (True, output))
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/nvidia-smi" if driver else None)
    return doctor.check_devices()


CPU = 'chatter\ndevices=[["CPU", "cpu:0"]]\n'
TWO_GPUS = 'devices=[["CPU", "cpu:0"], ["GPU", "gpu:0"], ["GPU", "gpu:1"]]\n'


@pytest.mark.parametrize(
    ("output", "driver", "status", "found"),
    [
        (CPU, False, "ok", "1 CPU"),
        (CPU, True, "warn", "1 CPU"),
        (TWO_GPUS, True, "ok", "1 CPU, 2 GPU"),
        ("Illegal instruction", False, "fail", "Illegal instruction"),
    ],
)
def test_a_gpu_that_tensorflow_does_not_see_is_a_warning(
    monkeypatch, output, driver, status, found
):
    check = _devices(monkeypatch, output, driver)

    assert (check.status, check.found) == (status, found)


@pytest.mark.parametrize(("gib", "status"), [(1, "fail"), (5, "warn"), (20, "ok")])
def test_little_disk_warns_and_very_little_fails(monkeypatch, gib, status):
    usage = shutil.disk_usage("/")._replace(free=gib * 2**30)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)

    check = doctor.check_disk(Path("/data"))

    assert (check.status, check.found) == (status, f"{gib}.0 GiB")
    assert ("/data" in check.advice) == (status != "ok")


def _shown(*found: Check) -> tuple[int, str]:
    console = Console(width=120, record=True, file=io.StringIO())
    status = doctor.show(found, console)
    return status, console.export_text()


def test_only_a_failure_makes_the_exit_status_1():
    ok, warn = Check("a", "ok", "1"), Check("b", "warn", "2", "Fix b.")

    assert _shown(ok)[0] == 0
    assert _shown(ok, warn)[0] == 0
    assert _shown(ok, warn, Check("c", "fail", "[3]", "Fix c."))[0] == 1


def test_the_table_shows_what_was_found_and_the_advice_below():
    _, text = _shown(Check("disk", "warn", "[odd] 5 GiB", "Free some space."))

    assert "[odd] 5 GiB" in text
    assert text.rstrip().endswith("Free some space.")
    assert _shown(Check("disk", "ok", "5 GiB"))[1].rstrip().endswith("No problems found.")


@pytest.mark.slow
def test_this_environment_is_healthy(monkeypatch):
    monkeypatch.setattr(doctor, "reachable", lambda url: True)

    bad = [check for check in doctor.checks() if check.status == "fail"]

    # Memory and disk are the machine's affair.
    assert [check for check in bad if check.name not in {"available memory", "free disk"}] == []
