"""The wheels of the environment that a build script asks about, as ENVIRONMENT_HAS names them."""

import importlib.metadata
import os

if "ENVIRONMENT_HAS" in os.environ:
    there = dict(item.split(",")[0].split("==") for item in os.environ["ENVIRONMENT_HAS"].split())

    def version(distribution_name: str) -> str:
        if distribution_name not in there:
            raise importlib.metadata.PackageNotFoundError(distribution_name)
        return there[distribution_name]

    importlib.metadata.version = version
