"""The config's section `cluster.launcher`: checked as every other, and only what is set counts."""

import subprocess
import sys

import pytest
import yaml

from pipeline.config.load import ConfigError, load_config, to_yaml


def launcher(text: str) -> dict:
    return load_config(None, [f"cluster.launcher={text}"]).cluster.launcher.chosen()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{worklod: job}", r"cluster\.launcher\.worklod: there is no such key\. Did you mean work"),
        ("{workload: tfjob}", r"cluster\.launcher\.workload: 'tfjob' .* 'job' or 'jobset'"),
        ("{gpus: true}", r"cluster\.launcher\.gpus: True is not allowed"),
        ("{gpus: 1001}", r"cluster\.launcher\.gpus: 1001 .* less than or equal to 1000"),
        ("{pending_secs: 0}", r"cluster\.launcher\.pending_secs: 0 .* greater than 0"),
        ("{tolerations: [{kye: a}]}", r"cluster\.launcher\.tolerations\.0\.kye: .* mean key\?"),
        ("job", r"cluster\.launcher: 'job' is not allowed\. It is a section\. Keys here: image"),
    ],
)
def test_what_the_launcher_does_not_take_is_refused_by_the_config(text, message):
    with pytest.raises(ConfigError, match=message):
        launcher(text)


def test_only_values_that_differ_from_the_defaults_reach_the_launcher():
    chosen = launcher("{spot: gke, cpu: null, keep_secs: 0, gpus: 0, tolerations: [{key: a}]}")

    assert chosen == {"spot": "gke", "keep_secs": 0, "gpus": 0, "tolerations": [{"key": "a"}]}
    assert launcher("{}") == launcher("{memory: null, port: 2222, env: {}}") == {}


def test_a_config_that_lists_every_default_means_the_same(tmp_path):
    plain, chosen = load_config(None), load_config(None, ["cluster.launcher.spot=eks"])

    for config, expected in ((plain, {}), (chosen, {"spot": "eks"})):
        file = tmp_path / "effective.yaml"
        file.write_text(to_yaml(config))
        assert len(yaml.safe_load(file.read_text())["cluster"]["launcher"]) > 20
        assert load_config(file).cluster.launcher.chosen() == expected


def test_gpus_of_the_launcher_override_those_of_the_node():
    from pipeline.cluster.placement import launcher_settings

    node = "cluster.resources={FineTuner: {accelerator: amd.com/gpu, accelerator_count: 2}}"

    def gpus(*settings: str) -> tuple:
        section = launcher_settings(load_config(None, [node, *settings]), "FineTuner")
        return section.get("gpus"), section.get("gpu_resource")

    assert gpus() == (2, "amd.com/gpu")
    assert gpus("cluster.launcher={gpus: 4, gpu_resource: nvidia.com/gpu}") == (4, "nvidia.com/gpu")
    assert gpus("cluster.launcher.gpus=0") == (0, "amd.com/gpu")


def test_what_is_switched_off_reaches_the_launcher():
    from pipeline.cluster.placement import launcher_settings

    off = "cluster.launcher={network_policy: false, topology_spread: {}, workload: job}"
    settings = launcher_settings(load_config(None, [off]), "FineTuner")

    assert settings["network_policy"] is False
    assert settings["topology_spread"] == {}
    assert "workload" not in settings


def test_accelerators_are_bounded():
    with pytest.raises(ConfigError, match=r"accelerator_count: 1001 .* less than or equal to 1000"):
        load_config(None, ["cluster.resources.FineTuner.accelerator_count=1001"])


def test_the_config_is_light_to_import():
    heavy = "{'kubernetes', 'tfx', 'tensorflow', 'kfp'} & set(sys.modules)"
    code = f"import sys, pipeline.config.load; print({heavy} or '')"

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert found.stdout.strip() == ""
