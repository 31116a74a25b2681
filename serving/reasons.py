"""What is wrong, in one line, whatever a library says around it."""

_MOST_MESSAGE = 300
_PREAMBLE = ("Graph execution error", "Detected at node", "<stack traces")


def reason_of(error: Exception) -> str:
    """The first line of an error; of TensorFlow's, without where in the graph it occurred."""
    text = getattr(error, "message", "") or str(error) or type(error).__name__
    lines = [
        line
        for line in text.splitlines()
        if line and not line[0].isspace() and not line.startswith(_PREAMBLE)
    ]
    # "{{function_node …}} the reason [Op:…]"
    reason = (lines or [type(error).__name__])[0].rpartition("}} ")[2].partition(" [Op:")[0]
    return reason.removeprefix("assertion failed: ").strip()[:_MOST_MESSAGE]
