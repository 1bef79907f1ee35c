"""The Docker Engine: the host's where it will do, else the embedded one."""

from scripts.engine.embedded import Embedded
from scripts.engine.engine import Engine
from scripts.engine.host import probe_host

__all__ = ["Embedded", "Engine", "probe_host"]
