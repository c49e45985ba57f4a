"""Which version of the product runs."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    try:
        return installed_version("vodray")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"
