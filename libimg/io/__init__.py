"""Files in and out: volumes with their geometry."""

from libimg.io.volumes import Volume as Volume
from libimg.io.volumes import case_name as case_name
from libimg.io.volumes import list_volumes as list_volumes
from libimg.io.volumes import read_volume as read_volume
from libimg.io.volumes import write_volume as write_volume

__all__ = ["Volume", "case_name", "list_volumes", "read_volume", "write_volume"]
