"""What can go wrong while scenes are listed and described."""


class CatalogError(Exception):
    """Base of every error of the catalogs package."""


class SourceError(CatalogError):
    """What was named as a source of scenes cannot be listed: a user's mistake, exit code 2."""


class SceneError(CatalogError):
    """One scene cannot be used as it is; the other scenes go on, exit code 3."""


class YamlError(CatalogError):
    """A YAML file is not what the strict loader accepts; the message carries file, line and column."""
