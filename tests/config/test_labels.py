import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.labels import not_for_google
from pipeline.config.load import ConfigError, load_config

NAMES = st.from_regex(r"[a-z]([a-z0-9_-]{0,61}[a-z0-9])?", fullmatch=True)


def labels_of(text):
    return load_config(None, [f"cluster.labels={text}"]).cluster.labels


@given(st.dictionaries(NAMES, NAMES, max_size=3))
def test_labels_of_google_cloud_are_labels_of_kubernetes_too(labels):
    chosen = labels_of(
        "{" + ", ".join(f"'{key}': '{value}'" for key, value in labels.items()) + "}"
    )

    assert chosen == labels
    assert not_for_google(chosen) == []


@pytest.mark.parametrize(
    "text", ["{cost.example/centre: A-1}", "{Team: x}", "{team: 'X'}", "{a.b: ''}"]
)
def test_labels_that_only_kubernetes_takes_are_named(text):
    assert len(not_for_google(labels_of(text))) == 1


@pytest.mark.parametrize(
    "text",
    ["{-a: b}", "{a: b-}", "{a/b/c: d}", "{'': b}", "{a: 'two words'}", "{a: '%s'}" % ("x" * 64)],
)
def test_what_is_no_label_is_rejected(text):
    with pytest.raises(ConfigError, match=r"cluster\.labels: .* is no label"):
        labels_of(text)
