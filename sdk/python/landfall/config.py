"""The operator's configuration for this plugin (for an adapter: for this site). No secrets are ever in it."""

try:
    from wit_world.imports import config as _host
except ImportError:
    _host = None

#: What `get` and `all` answer outside of the host, for tests in plain Python.
local = {}


def get(name, default=None):
    """The value of this name, as text."""
    value = _host.get(name) if _host else local.get(name)
    return default if value is None else value


def all():
    """Every value by its name."""
    return dict(_host.all()) if _host else dict(local)
