"""Words for the user come out of Beam as they went in, whichever way it wraps them."""

import traceback
from collections.abc import Callable

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from trainer.errors import ThawError, find, find_in_text, is_envelope

WORDS = {
    "what": 'no images: it "says" Error: here.\n\n  Traceback (most recent call last): none',
    "where": "photos/ø [while running 'x']",
    "to_do": "Add images,\nor raise data.splits.val. " + "And more. " * 400,
}
MESSAGE = str(ThawError(**WORDS))


class UnusableFolder(ThawError):
    pass


class LeftAlone(ThawError):
    """Beam cannot make it again from one argument."""

    def __init__(self, *, number: int) -> None:
        super().__init__(f"{number} is left.\nAll others have gone.", to_do="Look there.")


def raise_words(element: int) -> None:
    try:
        raise OSError("the disk says so")
    except OSError as error:
        raise UnusableFolder(**WORDS) from error


def raise_left_alone(element: int) -> None:
    raise LeftAlone(number=element)


class FailsInSetup(beam.DoFn):
    def setup(self) -> None:
        raise UnusableFolder(**WORDS)

    def process(self, element: int) -> None:
        pass


def caught_from_beam(step: beam.DoFn | Callable, mode: str = "in_memory") -> Exception:
    options = PipelineOptions([f"--direct_running_mode={mode}", "--direct_num_workers=2"])
    transform = beam.ParDo(step) if isinstance(step, beam.DoFn) else beam.Map(step)
    with (
        pytest.raises((ThawError, RuntimeError)) as caught,
        beam.Pipeline(runner="DirectRunner", options=options) as pipeline,
    ):
        _ = pipeline | beam.Create([1]) | beam.Reshuffle() | "Write's [0]" >> transform
    return caught.value


def assert_found_whole(error: BaseException) -> None:
    found = find(error)
    assert found is not None
    assert {name: getattr(found, name) for name in WORDS} == WORDS
    assert str(found) == MESSAGE


@pytest.mark.parametrize("step", [raise_words, FailsInSetup()], ids=["process", "setup"])
def test_error_leaves_beam_whole(step):
    error = caught_from_beam(step)

    assert isinstance(error, UnusableFolder)
    assert str(error) == MESSAGE
    assert_found_whole(error)


@pytest.mark.slow
def test_error_leaves_another_process_of_beams_whole():
    error = caught_from_beam(raise_words, "multi_processing")

    assert type(error) is RuntimeError
    assert_found_whole(error)


def test_error_that_beam_cannot_make_again_leaves_it_whole():
    error = caught_from_beam(raise_left_alone)

    assert type(error) is RuntimeError
    assert str(find(error)) == "1 is left.\nAll others have gone.\n  Look there."


def chained(error: Exception, cause: Exception | None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_outermost_error_for_the_user_wins():
    inner, outer = ThawError("a record is damaged."), ThawError("an input has changed.")
    wrapper = chained(RuntimeError("failed"), chained(outer, inner))
    text = "".join(traceback.format_exception(wrapper))

    assert find(wrapper) is outer
    for found in (find_in_text(text), find(RuntimeError(text))):
        assert found is not None
        assert found.what == "an input has changed."


def fail_while_handling() -> None:
    try:
        raise ThawError("tried first.")
    except ThawError:
        {}["other"]


def fail_instead() -> None:
    try:
        raise ThawError("tried first.")
    except ThawError:
        raise KeyError("other") from None


def test_error_raised_while_one_for_the_user_was_handled_hides_it_only_if_it_says_so():
    with pytest.raises(KeyError) as handling:
        fail_while_handling()
    with pytest.raises(KeyError) as instead:
        fail_instead()

    assert str(find(handling.value)) == "tried first."
    assert find(instead.value) is None


def test_circle_of_causes_has_an_end():
    first, second = KeyError(1), KeyError(2)
    first.__cause__, second.__cause__ = second, first

    assert find(first) is None


@pytest.mark.parametrize("cut", ['thaw-error: {"what": "no', 'thaw-error: {"other": 1}', "no"])
def test_what_is_no_whole_envelope_is_not_taken_for_one(cut):
    assert find(RuntimeError(cut)) is None


def test_envelope_is_one_line_of_a_log_and_known_as_such():
    lines = "".join(traceback.format_exception(ThawError(**WORDS))).splitlines()

    assert [is_envelope(line) for line in lines[-2:]] == [False, True]
