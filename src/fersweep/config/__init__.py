"""The configuration: its schema, composition and checks."""

from fersweep.config.schema import Config as Config
from fersweep.config.schema import to_dict as to_dict
