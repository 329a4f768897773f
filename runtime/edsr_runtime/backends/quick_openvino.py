"""Importing OpenVINO in a third of the time."""

import sys

_CONVERTERS = "openvino.tools.ovc"


def leave_converters_out() -> None:
    """Let OpenVINO be imported without its converters of other formats, from now on in this process.

    They are most of its import, and nothing here converts anything; OpenVINO does without them where they cannot be
    imported. For commands only: in somebody else's process this would take ``openvino.convert_model`` away.
    """
    sys.modules.setdefault(_CONVERTERS, None)  # type: ignore[arg-type]  # None: what Python takes for not importable
