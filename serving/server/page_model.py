"""What the page says of the model that is served."""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import tensorflow as tf

from serving.model import classifies_images
from serving.run_report import report_of
from serving.server.loaded import DEFAULT_SIGNATURE, IMAGE_BYTES, LoadedVersion, Signature, zeros
from serving.server.settings import ServerSettings
from serving.server.tensors import to_json
from serving.version_record import CARD_FILE, VersionRecord, read_version
from trainer.calibration.record import CALIBRATION_FILE
from trainer.data.regular_files import read_regular_file
from trainer.export import (
    CALIBRATED_PROBABILITIES,
    DATA_FILE,
    EXPLANATION_SIGNATURE,
    LABELS_FILE,
)
from trainer.records import Json

_MOST_ASSET_BYTES = 2**24
_MOST_EXAMPLE_VALUES = 64
# `printf` is part of the shell: a photograph would be too long as an argument of a command.
_IMAGE_BODY = (
    """printf '{"instances": [{"image_bytes": {"b64": "%s"}}]}' "$(base64 -w0 photo.jpg)" """
)


@dataclass(frozen=True)
class ClassifierFacts:
    """What the page tells of a model that Thaw exported.

    Attributes:
      classes: names by label id.
      calibrated: whether its calibrated probabilities were fitted to images.
      explains: whether it has heat maps.
      shape: how pictures are made square: a value of `data.shape`; empty: it does not say.
      train_images: how many it was trained on; None: it does not say.
      record: what is known of the version; None: it has none.
      has_report: whether the report of its run can be read.
      has_card: whether it has a model card.
    """

    classes: list[str]
    calibrated: bool
    explains: bool
    shape: str
    train_images: int | None
    record: VersionRecord | None
    has_report: bool
    has_card: bool


@dataclass(frozen=True)
class SignatureText:
    """A signature in words: each tensor as `x: float32 [n, 2]`."""

    name: str
    inputs: list[str]
    outputs: list[str]


@dataclass(frozen=True)
class PageModel:
    """The model that is served.

    Attributes:
      name: in requests.
      version: its number.
      needs_token: whether requests must bear one.
      max_body_bytes: of a request.
      classifier: None: it is none that Thaw exported.
      signatures: all of them.
      path: of the API, where the default signature is asked, relative to the server's address.
      body: shell command that writes a request for it; empty: there is no short one.
    """

    name: str
    version: int
    needs_token: bool
    max_body_bytes: int
    classifier: ClassifierFacts | None
    signatures: list[SignatureText]
    path: str
    body: str


def describe(version: LoadedVersion, settings: ServerSettings) -> Json:
    """The `PageModel` of a version, as JSON."""
    signature = default_signature(version)
    model = PageModel(
        name=settings.name,
        version=version.number,
        needs_token=bool(settings.token),
        max_body_bytes=settings.max_body_bytes,
        classifier=_facts(version, signature) if is_classifier(signature) else None,
        signatures=[_in_words(one) for _, one in sorted(version.signatures.items())],
        path=f"v1/models/{quote(settings.name, safe='')}:predict",
        body=_body(signature),
    )
    return asdict(model)


def default_signature(version: LoadedVersion) -> Signature:
    """The one that is asked where a request names none; else the first."""
    signatures = version.signatures
    return signatures.get(DEFAULT_SIGNATURE) or signatures[min(signatures)]


def is_classifier(signature: Signature) -> bool:
    """Whether a signature is one that Thaw exports, from image files to classes."""
    return signature.name == DEFAULT_SIGNATURE and classifies_images(
        signature.inputs, signature.outputs
    )


def card_of(version: LoadedVersion) -> Path | None:
    """The model card of a version; None if it has none."""
    path = version.path / "assets" / CARD_FILE
    return path if path.is_file() else None


def find_report(version: LoadedVersion) -> Path | None:
    """The report of the run that a version is from; None if it cannot be read."""
    record = read_version(version.path)
    return report_of(version.path, record.run_id) if record else None


def _facts(version: LoadedVersion, signature: Signature) -> ClassifierFacts:
    assets = version.path / "assets"
    fitted_on = _read_json(assets / CALIBRATION_FILE).get("val_images", 0)
    return ClassifierFacts(
        classes=_read(assets / LABELS_FILE).decode(errors="replace").splitlines(),
        calibrated=CALIBRATED_PROBABILITIES in signature.outputs and bool(fitted_on),
        explains=EXPLANATION_SIGNATURE in version.signatures and version.images is not None,
        shape=version.images.reading.shape if version.images else "",
        train_images=_train_images(_read_json(assets / DATA_FILE)),
        record=read_version(version.path),
        has_report=find_report(version) is not None,
        has_card=card_of(version) is not None,
    )


def _train_images(data: Json) -> int | None:
    try:
        return sum(data["counts"]["train"].values())
    except (LookupError, TypeError, AttributeError):
        return None


def _read(path: Path) -> bytes:
    """An asset; empty if it cannot be read."""
    try:
        return read_regular_file(str(path), _MOST_ASSET_BYTES)
    except OSError:
        return b""


def _read_json(path: Path) -> Json:
    try:
        value = json.loads(_read(path))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _in_words(signature: Signature) -> SignatureText:
    return SignatureText(
        signature.name, _specs_in_words(signature.inputs), _specs_in_words(signature.outputs)
    )


def _specs_in_words(specs: Mapping[str, tf.TensorSpec]) -> list[str]:
    return [f"{name}: {spec.dtype.name} {_shape(spec)}" for name, spec in sorted(specs.items())]


def _shape(spec: tf.TensorSpec) -> str:
    if spec.shape.rank is None:
        return "of any shape"
    sizes = ["?" if size is None else str(size) for size in spec.shape.as_list()]
    rows = ["n" if size == "?" else size for size in sizes[:1]]
    return f"[{', '.join(rows + sizes[1:])}]"


def _body(signature: Signature) -> str:
    if list(signature.inputs) == [IMAGE_BYTES]:
        return _IMAGE_BODY.strip()
    shapes = [spec.shape for spec in signature.inputs.values()]
    values = [math.prod(size or 1 for size in shape) for shape in shapes if shape.rank is not None]
    if len(values) < len(shapes) or sum(values) > _MOST_EXAMPLE_VALUES:
        return ""
    inputs = {name: to_json(zeros(spec), name) for name, spec in signature.inputs.items()}
    body: Json = {"inputs": inputs}
    if signature.name != DEFAULT_SIGNATURE:
        body["signature_name"] = signature.name
    return f"echo {shlex.quote(json.dumps(body))}"
