"""Addresses of a store, paths of a mount, and the way there and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.store import uris
from trainer.store.uris import Kind, StoreSettings

MOUNTED = StoreSettings(Kind.MOUNTED, "minio://bucket/root", "/thaw-store")
NAMES = st.text("abYZ019_", min_size=1, max_size=8)


@settings(max_examples=30)
@given(st.lists(NAMES, max_size=5))
def test_an_address_leads_to_the_mount_and_back(names):
    uri = "/".join(["minio://bucket/root", *names])

    path = uris.to_mount(uri, MOUNTED)

    assert path == "/".join(["/thaw-store", *names])
    assert uris.from_mount(path, MOUNTED) == uri


@settings(max_examples=30)
@given(st.sampled_from(["s3", "minio", "gs"]), st.lists(NAMES, min_size=1, max_size=5))
def test_a_local_copy_knows_its_address(scheme, names):
    uri = f"{scheme}://" + "/".join(names)

    assert uris.address_of(uris.local_copy(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "minio://bucket/rooted/images",
        "minio://bucket/ro",
        "s3://bucket/root/images",
        "s3://x/minio://bucket/root",
        "/data/thaw-store/images",
    ],
)
def test_other_addresses_stay_as_they_are(text):
    assert uris.to_mount(text, MOUNTED) == text
    assert uris.from_mount(text, MOUNTED) == text


def test_addresses_in_arguments_lead_to_the_mount():
    argument = '{"filesystem": {"base_directory": "minio://bucket/root/serving", "n": 1}}'

    assert uris.to_mount(argument, MOUNTED) == (
        '{"filesystem": {"base_directory": "/thaw-store/serving", "n": 1}}'
    )


def test_settings_reach_a_process_through_its_environment():
    assert uris.from_environment({uris.VARIABLE: MOUNTED.to_json()}) == MOUNTED
    assert uris.from_environment({}) == StoreSettings(Kind.DIRECT)


@pytest.mark.parametrize(
    ("path", "remote", "s3", "bucket"),
    [
        ("/data/photos", False, False, False),
        ("gs://bucket/photos", True, False, True),
        ("s3://bucket", True, True, True),
        ("minio:///photos", True, True, False),
        ("odd:name", False, False, False),
    ],
)
def test_schemes(path, remote, s3, bucket):
    assert (uris.is_remote(path), uris.is_s3(path), uris.has_bucket(path)) == (remote, s3, bucket)
