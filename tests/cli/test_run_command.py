"""`thaw run` around a child that succeeds, fails, dies, hangs."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import is_alive, wait_for

from pipeline.config.schema import Config
from pipeline.local import supervisor

ROOT = Path(__file__).parents[2]

# A child with a child of its own, both deaf to SIGTERM, as TensorFlow is.
HANGS = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
node("Fit", "running", log="fit.log")
inner = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"])
for name, pid in (("outer", os.getpid()), ("inner", inner.pid)):
    (output.parent / f"new.{name}").write_text(str(pid))
    os.rename(output.parent / f"new.{name}", output.parent / f"pid.{name}")
time.sleep(300)
"""


def result(process) -> tuple[int, str]:
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def pids(tmp_path) -> list[int]:
    files = [tmp_path / "pid.outer", tmp_path / "pid.inner"]
    assert wait_for(lambda: all(file.exists() for file in files))
    return [int(file.read_text()) for file in files]


def test_success_prints_verdict_accuracies_report_and_model(thaw_run, tmp_path):
    code, out = result(thaw_run('node("Gen", "running"); node("Gen", "done"); finish(True)'))

    assert code == 0, out
    for part in ("Gen: done", "Blessed", "Accuracy rose.", "50.0%", "75.0%", "/models/thaw/7"):
        assert part in out
    assert f"report: {tmp_path / 'out' / 'report.html'}" in out
    assert "serve:  thaw serve --model /models/thaw\n" in out
    assert "exports: /out/exports/birds/7" in out
    assert "The export onnx was not pushed. Its first choice is another one for 2 of 20" in out
    assert "tflite was not pushed" not in out
    assert "chatter" not in out


@pytest.mark.parametrize(("options", "expected"), [((), 0), (("--require-blessing",), 3)])
def test_unblessed_run_fails_only_where_blessing_is_required(thaw_run, options, expected):
    code, out = result(thaw_run("finish(False)", *options))

    assert code == expected, out
    assert "Not blessed" in out


def test_blessed_model_that_serves_other_answers_is_not_called_pushed(thaw_run):
    code, out = result(thaw_run("finish(True, agrees=False)", "--require-blessing"))

    assert code == 3, out
    assert "Blessed, but not pushed." in out
    assert "thaw serve" not in out
    assert "/models/thaw/7" not in out


def test_failure_names_node_cause_and_log(thaw_run):
    code, out = result(
        thaw_run('node("Fit", "failed", error="no image is left.", log="/l/fit.log"); sys.exit(1)')
    )

    assert code == 1
    assert "Fit failed: no image is left." in out
    assert "log: /l/fit.log" in out


def test_killed_child_is_reported_with_signal_node_and_log(thaw_run):
    code, out = result(
        thaw_run('node("Fit", "running", log="/l/fit.log"); os.kill(os.getpid(), 9)')
    )

    assert code == 1
    assert "killed by signal 9 while Fit was running" in out
    assert "log: /l/fit.log" in out


def test_child_that_ends_early_without_a_word_has_failed(thaw_run):
    code, out = result(thaw_run("sys.exit(0)"))

    assert code == 1
    assert "ended with exit code 0 before the first node" in out
    assert "run.log" in out


def test_chatter_goes_to_the_log(thaw_run, tmp_path):
    result(thaw_run("finish(True)"))

    (log,) = (tmp_path / "out" / "logs").glob("*/run.log")
    assert "chatter of a library" in log.read_text()


def test_ctrl_c_leaves_nothing_running_and_says_how_to_go_on(thaw_run, tmp_path):
    process = thaw_run(HANGS)
    children = pids(tmp_path)

    process.send_signal(signal.SIGINT)
    code, out = result(process)

    assert code == 130, out
    assert "same command" in out
    assert not [pid for pid in children if is_alive(pid)]


def test_second_ctrl_c_leaves_nothing_running_either(thaw_run, tmp_path):
    process = thaw_run(HANGS)
    children = pids(tmp_path)

    process.send_signal(signal.SIGINT)
    wait_for(lambda: process.poll() is not None, secs=2)
    process.send_signal(signal.SIGINT)
    result(process)

    assert wait_for(lambda: not any(map(is_alive, children)), secs=15)


def test_sigterm_leaves_nothing_running(thaw_run, tmp_path):
    process = thaw_run(HANGS)
    children = pids(tmp_path)

    process.send_signal(signal.SIGTERM)
    result(process)

    assert wait_for(lambda: not any(map(is_alive, children)), secs=15)


def test_second_run_in_the_same_output_is_refused(thaw_run, tmp_path):
    thaw_run(HANGS)
    pids(tmp_path)

    code, out = result(thaw_run("finish(True)"))

    assert code == 1
    assert "another run is writing here" in out


def test_output_is_free_again_after_a_run(thaw_run):
    assert result(thaw_run("finish(True)"))[0] == 0
    assert result(thaw_run("finish(True)"))[0] == 0


def test_killing_thaw_alone_ends_all_that_it_started(thaw_run, tmp_path):
    process = thaw_run(HANGS)
    children = pids(tmp_path)

    process.kill()

    assert wait_for(lambda: not any(map(is_alive, children)), secs=15)


def test_run_started_at_once_after_a_kill_waits_for_what_is_left_and_goes_on(thaw_run, tmp_path):
    process = thaw_run(HANGS)
    children = pids(tmp_path)

    process.kill()
    code, out = result(thaw_run("finish(True)"))

    assert code == 0, out
    assert not any(map(is_alive, children))


def test_folder_stays_locked_while_a_process_of_a_killed_run_lives(tmp_path):
    """Every process that writes holds the lock, and the last may outlive `thaw run`."""
    with supervisor.only_run(tmp_path) as lock:
        writer = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(2)"], pass_fds=[lock]
        )
        (tmp_path / ".lock").write_text(str(_pid_of_nobody()))

    started = time.monotonic()
    with supervisor.only_run(tmp_path):
        assert writer.poll() is not None or time.monotonic() - started > 1


def _pid_of_nobody() -> int:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH came with Python 3.11")
def test_modules_in_the_current_folder_are_not_taken_for_ours(tmp_path, monkeypatch):
    for name in ("components", "launchers", "pipeline", "serving", "trainer"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not ours')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    files = supervisor.new_run(Config(), tmp_path)
    code = "import components, launchers, pipeline, serving, trainer; print(trainer.__file__)"

    with supervisor.only_run(tmp_path) as lock:
        ended = supervisor.watch([sys.executable, "-c", code], files, print, lock)

    assert (ended, files.log.read_text()) == (0, f"{ROOT / 'trainer' / '__init__.py'}\n")
