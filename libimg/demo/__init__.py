"""A page on this machine on which photographs are restored, and degraded first if wanted."""

from libimg.demo.page import build_demo as build_demo
from libimg.demo.server import serve as serve
from libimg.demo.work import Limits as Limits
from libimg.demo.work import Restored as Restored
from libimg.demo.work import range_notes as range_notes
from libimg.demo.work import restore_upload as restore_upload
from libimg.demo.work import restore_uploads as restore_uploads

__all__ = [
    "Limits",
    "Restored",
    "build_demo",
    "range_notes",
    "restore_upload",
    "restore_uploads",
    "serve",
]
