"""The compiled pipeline, executed: every container's own command, up to the pushed model, with
each kind of store.
"""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from google.auth.credentials import AnonymousCredentials
from google.protobuf import json_format, struct_pb2

from components.exporter.record import read_exports
from components.image_example_gen.driver import fingerprint
from pipeline.cluster.compile import compile_pipeline
from pipeline.cluster.target import Target
from pipeline.config.schema import Config
from pipeline.report.evaluation import read_metrics
from trainer.data.predictions import MODELS
from trainer.fits.record import HISTORY_FILE
from trainer.store.uris import Kind

from ..cluster.conftest import needs_kfp
from ..cluster.containers import Command, WarmPython
from ..cluster.custom_jobs import run_replicas
from ..cluster.http_server import serving
from ..cluster.kfp_launcher import KfpLauncher
from ..cluster.s3_server import S3Server
from ..cluster.spec_runner import Service, SpecRun
from ..cluster.specs import pod_environment, read_kubeflow, read_vertex
from ..cluster.vertex_service import PARENT, Vertex
from ..launchers.kube_api import KubeApi
from ..launchers.kube_cluster import Cluster
from ..launchers.kube_processes import Processes
from ..launchers.kube_runs import until
from .store_runs import (
    ROOT,
    SECRETS,
    StoreRun,
    config_like,
    in_a_folder,
    one_trial,
    run_all,
    staged,
    weights,
    with_images,
)
from .test_run import NODES

pytestmark = [pytest.mark.slow, needs_kfp]


@pytest.fixture(scope="module")
def warm_python(tmp_path_factory):
    with WarmPython(tmp_path_factory.mktemp("warm")) as python:
        yield python


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S3Server(tmp_path_factory.mktemp("seaweedfs")) as running:
        yield running


@pytest.fixture(scope="module")
def direct_run(good_run, warm_python, tmp_path_factory) -> StoreRun:
    """A folder stands for the bucket: TensorFlow reads no bucket but Google's."""
    directory = tmp_path_factory.mktemp("direct")
    text = in_a_folder(config_like(good_run), Target.KUBEFLOW, directory)
    run = SpecRun(read_kubeflow(text)[0], directory, Service.KUBEFLOW_2_14)
    return StoreRun(Kind.DIRECT, run_all(run, warm_python))


@pytest.fixture(scope="module")
def mounted_run(good_run, warm_python, server, images, tmp_path_factory) -> StoreRun:
    """A folder is the claim that every pod mounts; the launcher sees the real, empty store."""
    directory = tmp_path_factory.mktemp("mounted")
    claim = directory / "claim"
    claim.mkdir()
    (claim / "images").symlink_to(images)
    store = {"kind": "mounted", "claim": "thaw", "mount_path": str(claim)}
    config = config_like(good_run, pipeline_root=ROOT, store=store)
    spec, _ = read_kubeflow(
        compile_pipeline(with_images(config, f"{ROOT}/images"), Target.KUBEFLOW)
    )
    run = SpecRun(spec, directory, root=ROOT, launcher=KfpLauncher(server))
    before = set(server.keys())
    run_all(run, warm_python)
    uploaded = sorted(set(server.keys()) - before)
    assert [key.rsplit("/", 1)[1] for key in uploaded] == ["report", "summary"]
    return StoreRun(Kind.MOUNTED, run, server)


@pytest.fixture(scope="module")
def staged_run(good_run, warm_python, server, images, tmp_path_factory) -> StoreRun:
    """With a search and an export. The store is all that the pods have in common."""
    directory = tmp_path_factory.mktemp("staged")
    for image in sorted(images.rglob("*.*")):
        server.put(f"photos/{image.relative_to(images)}", image.read_bytes())
    config = with_images(
        staged(one_trial(good_run, ("onnx",)), server), "minio://mlpipeline/photos"
    )
    spec, platform = read_kubeflow(compile_pipeline(config, Target.KUBEFLOW))
    run = SpecRun(
        spec,
        directory,
        root=ROOT,
        launcher=KfpLauncher(server),
        environment=pod_environment(platform, SECRETS),
    )
    return StoreRun(Kind.STAGED, run_all(run, warm_python), server)


on_every_store = pytest.mark.parametrize("store", ["direct_run", "mounted_run", "staged_run"])


@on_every_store
def test_every_task_ran_after_those_that_it_depends_on(store, request):
    run = request.getfixturevalue(store).run
    order = run.tasks()

    expected = {*NODES, "Report", *(["Tuner", "Exporter"] if store == "staged_run" else [])}
    assert sorted(order) == sorted(expected)
    for task in order:
        before = order[: order.index(task)]
        assert set(run.spec.root.dag.tasks[task].dependent_tasks) <= set(before)
    assert list(run.outputs) == order


@on_every_store
def test_metrics_are_those_of_thaw_run(store, good_run, request):
    done = request.getfixturevalue(store)
    evaluation = str(done.output("Evaluator", "evaluation"))

    for model in MODELS:
        expected = dict(good_run.results["metrics"][model])
        for name in ("confusion", "weighted_accuracy"):  # not TFMA's
            expected.pop(name)
        assert read_metrics(evaluation, model).model_dump() == expected
    assert done.run.metadata("Gate", "blessing")["blessed"] == 1


@on_every_store
def test_the_pushed_model_is_that_of_thaw_run(store, pushed_model, request):
    done = request.getfixturevalue(store)
    pushing = done.run.metadata("Pusher", "pushed_model")

    pushed = pushing["pushed_destination"]
    assert (pushing["pushed"], pushing["pushed_version"]) == (1, "1")
    assert pushed == f"{done.run.root}/serving/hands/1"
    one, other = (weights(path) for path in (done.folder(pushed), pushed_model))
    assert len(one) > 200
    assert [np.array_equal(a, b) for a, b in zip(one, other, strict=True)].count(False) == 0


@on_every_store
def test_the_user_interface_gets_the_verdict_metrics_and_report(store, good_run, request):
    done = request.getfixturevalue(store)
    page, summary = (shown(done, output) for output in ("report", "summary"))
    metrics = done.run.metadata("Report", "metrics")
    drawn = done.run.metadata("Report", "classification")

    results = good_run.results
    candidate = results["metrics"]["candidate"]
    assert metrics["candidate_accuracy"] == candidate["accuracy"]
    assert metrics["gain"] == results["verdict"]["gain"]
    assert (metrics["blessed"], metrics["pushed"]) == (1, 1)
    matrix = drawn["confusionMatrix"]
    assert [one["displayName"] for one in matrix["annotationSpecs"]] == results["data"]["classes"]
    assert [one["row"] for one in matrix["rows"]] == candidate["confusion"]
    assert "hands: blessed" in summary
    assert results["verdict"]["reasons"][0] in summary
    assert page.startswith("<!DOCTYPE html>") or page.startswith("<!doctype html>")
    pictures = 3 * len(results["samples"]) + len(results["doubtful_labels"])
    assert page.count("data:image/jpeg;base64,") == pictures


def shown(done: StoreRun, output: str) -> str:
    """What the interface reads: from the store itself, not from what pods mount."""
    uri = done.run.uri("Report", output)
    if done.kind is Kind.DIRECT:
        return Path(uri).read_text()
    return done.server.get(uri.removeprefix("minio://mlpipeline/")).decode()


def test_a_mounted_store_is_neither_copied_nor_left(mounted_run):
    """Artifacts keep the addresses that Kubeflow Pipelines gave them."""
    run = mounted_run.run

    assert set(run.launcher.downloaded.values()) == {0}
    for task, outputs in run.outputs.items():
        for name in outputs:
            assert run.uri(task, name).startswith(f"{ROOT}/hands/"), (task, name)
    card = json.loads(
        (mounted_run.output("ImageExampleGen", "examples") / "data_card.json").read_text()
    )
    assert card["images_dir"] == str(run.directory / "claim" / "images")


def test_staged_nodes_read_the_launchers_copies(staged_run):
    downloaded = staged_run.run.launcher.downloaded

    assert downloaded["TrunkFeatures", "examples"] > 1_000_000
    assert downloaded["FineTuner", "base_model"] > 1_000_000


def test_exports_of_the_pushed_model_are_published_in_the_store(staged_run):
    exporting = staged_run.run.metadata("Exporter", "exports")

    published = staged_run.folder("minio://mlpipeline/thaw/exports/hands/1")
    assert (exporting["pushed"], exporting["pushed_version"]) == (1, "1")
    assert exporting["pushed_destination"] == "minio://mlpipeline/thaw/exports/hands/1"
    found = read_exports(str(published))
    assert [(one.format, one.agrees) for one in found.exports] == [("onnx", True)]
    assert {path.name for path in published.iterdir()} == {
        "model.onnx",
        "labels.txt",
        "exports.json",
        "preprocess.py",
        "classify.py",
    }
    assert "with <code>preprocess.py</code>" in shown(staged_run, "report")


def test_trials_outlive_the_pod(staged_run):
    results = staged_run.output("Tuner", "tuner_results")

    assert len(json.loads((results / "trials.json").read_text())["trials"]) == 1
    kept = [key for key in staged_run.server.keys("thaw/hands/") if "/Tuner/.system/trials/" in key]
    assert any(key.endswith("/trial.json") for key in kept)


def test_two_workers_that_share_no_folder_lose_one_resume_and_train_as_one(
    good_run, staged_run, warm_python, tmp_path, capfd
):
    """The pods have nothing in common but the store. The node's own pod only starts them."""
    server = staged_run.server
    with KubeApi() as api:
        nodes = Processes(Cluster(api), tmp_path / "pods", SECRETS)
        launcher = {"kubeconfig": api.kubeconfig(tmp_path), "api_retry_secs": 5}
        config = staged(config_like(good_run, launcher=launcher), server)
        config = config.model_copy(update={"train": config.train.model_copy(update={"workers": 2})})
        run = started_after_head_trainer(config, staged_run.run, tmp_path)
        loss = threading.Thread(target=lose_one_with_state, args=(server, nodes), daemon=True)
        loss.start()
        try:
            run.run("FineTuner", warm_python.run)
        finally:
            nodes.stop()

    log = (tmp_path / "tasks" / "FineTuner" / "log").read_text()
    assert "was killed by signal 9" in log
    assert "resumes after epoch" in log
    assert not [name for _, name in run.launcher.downloaded if name == "examples"]
    assert not [key for key in server.keys("thaw/") if "/FineTuner/.system/" in key]
    # The first epoch ended before the loss, the second began with the state in the store. Later
    # ones may drift apart by rounding, as a high learning rate has it.
    one, two = (
        json.loads((done.output("FineTuner", "model") / HISTORY_FILE).read_text())["history"]
        for done in (staged_run, StoreRun(Kind.STAGED, run, server))
    )
    assert len(two["loss"]) == len(two["val_loss"]) >= 2
    np.testing.assert_allclose(two["loss"][:2], one["loss"][:2], rtol=0.02)


def started_after_head_trainer(config: Config, done: SpecRun, directory: Path) -> SpecRun:
    """A run of a pipeline that differs in its workers alone, which has come to FineTuner."""
    text = compile_pipeline(with_images(config, "minio://mlpipeline/photos"), Target.KUBEFLOW)
    spec, platform = read_kubeflow(text)
    features = done.outputs["TrunkFeatures"]["features"].artifacts[0]
    reference = struct_pb2.Value(string_value=json_format.MessageToJson(features))
    return SpecRun(
        spec,
        directory,
        root=ROOT,
        launcher=KfpLauncher(done.launcher.server),
        environment=pod_environment(platform, SECRETS),
        outputs=dict(done.outputs),
        parameters={"TrunkFeatures": {"features_reference": reference}},
    )


def lose_one_with_state(server: S3Server, nodes: Processes) -> None:
    """Kills a worker once the state of an epoch is in the store."""
    until(lambda: any("/FineTuner/.system/recovery/" in key for key in server.keys("thaw/")), 600)
    nodes.kill(1)


@pytest.fixture(scope="module")
def vertex_run(good_run, tmp_path_factory) -> SpecRun:
    """Compiled for two workers on machines of their own. A folder stands for the bucket."""
    directory = tmp_path_factory.mktemp("vertex")
    config = one_trial(
        good_run,
        project="p",
        location="europe-west4",
        resources={"default": {"machine_type": "n1-standard-8"}},
    )
    config = config.model_copy(update={"train": config.train.model_copy(update={"workers": 2})})
    text = in_a_folder(config, Target.VERTEX, directory)
    spec, job = read_vertex(text)
    values = dict(job.runtime_config.parameters.items())
    return SpecRun(spec, directory, Service.VERTEX, job_parameters=values)


def test_vertex_checks_for_new_images_and_runs_the_same_containers(
    vertex_run, direct_run, warm_python, images
):
    for task in ("ImageExampleGen", "StatisticsGen", "SchemaGen"):
        vertex_run.run(task, warm_python.run)

    # What the cache depends on: it changes with the images.
    parameters = vertex_run.checked["ImageExampleGen"].parameter_values
    assert parameters["input_fingerprint"].string_value == fingerprint(str(images))
    examples = vertex_run.metadata("ImageExampleGen", "examples")
    assert json.loads(examples["split_names"]) == ["train", "val", "test"]
    one, other = (
        Path(run.uri("SchemaGen", "schema"), "schema.pbtxt").read_text()
        for run in (vertex_run, direct_run.run)
    )
    assert one == other


def test_vertex_trains_by_replicas_that_the_service_starts(
    vertex_run, direct_run, monkeypatch, tmp_path
):
    """The nodes' own commands ask for custom jobs, whose replicas run."""
    for task in ("Transform", "TrunkFeatures"):
        vertex_run.outputs[task] = direct_run.run.outputs[task]
    vertex = Vertex(run_job=lambda job: run_replicas(job, tmp_path / job.display_name))

    with serving(vertex) as address:
        reach(monkeypatch, address)
        for task in ("Tuner", "HeadTrainer"):
            vertex_run.run(task, in_this_process)

    search, job = vertex.custom_jobs.values()
    trials = Path(vertex_run.uri("Tuner", "tuner_results"), "trials.json")
    assert search.display_name == "hands-tuner"
    assert [pool.replica_count for pool in search.job_spec.worker_pool_specs] == [1]
    assert len(json.loads(trials.read_text())["trials"]) == 1
    assert job.display_name == "hands-headtrainer"
    assert job.job_spec.scheduling.restart_job_on_worker_restart
    assert [pool.replica_count for pool in job.job_spec.worker_pool_specs] == [1, 1]
    assert {asked.path for asked in vertex.asked if asked.method == "POST"} == {
        f"/v1/{PARENT}/customJobs"
    }
    # The same steps on the same images: equal but for the order of sums.
    alone, together = (
        weights(Path(run.uri("HeadTrainer", "model"), "Format-Serving"))
        for run in (direct_run.run, vertex_run)
    )
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def reach(monkeypatch, address: str) -> None:
    """Has TFX's client for custom jobs speak REST to a server of ours, and ask it often."""
    from tfx.extensions.google_cloud_ai_platform import runner, training_clients

    real = training_clients.gapic.JobServiceClient

    def client(client_options):
        assert client_options == {"api_endpoint": "europe-west4-aiplatform.googleapis.com"}
        return real(
            transport="rest",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": address},
        )

    monkeypatch.setattr(training_clients.gapic, "JobServiceClient", client)
    monkeypatch.setattr(runner, "_POLLING_INTERVAL_IN_SECONDS", 0.1)


def in_this_process(command: Command, log: Path) -> None:
    """Runs the entry point here, where its client can be pointed at another server."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    from launchers import entry_point
    from pipeline.cluster import task

    if command.words[2] == task.__name__:
        entry_point.main(entry_point.parse_flags(task.with_parameters(command.words[3:])))
    else:
        assert command.words[:3] == ["python", "-m", kubeflow_v2_run_executor.__name__]
        kubeflow_v2_run_executor.main(kubeflow_v2_run_executor._parse_flags(command.words[3:]))
