"""The page: its controls, and which function each of them calls."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from libimg._extras import optional
from libimg.degradations import DegradationParams
from libimg.demo import text
from libimg.demo.work import Limits, Restored, pack, range_notes, restore_uploads
from libimg.io import Picture, write_image
from libimg.restoration import Restorer, photographs

__all__ = ["CSS", "Controls", "build_demo"]

TITLE = "Restoration of noise and JPEG"
LAYOUTS = ("4:2:0", "4:2:2", "4:4:4")
CSS = """
.gradio-container {max-width: 1400px !important; margin: auto}
.note {color: var(--body-text-color-subdued); margin: 0}
.failed {color: #b91c1c; margin: 0; overflow-wrap: anywhere}
.caption {font-size: 1.1em; overflow-wrap: anywhere}
"""


class Controls(NamedTuple):
    """What the visitor has set.

    Args:
        degrade: degrade first.
        sigma: of the noise, in levels of 255.
        compress: with JPEG.
        quality: of the JPEG.
        subsampling: chroma layout.
        seed: of the noise.
    """

    degrade: bool
    sigma: float
    compress: bool
    quality: float
    subsampling: Any
    seed: float

    def params(self) -> DegradationParams | None:
        """Return the record of the degradation, None for none."""
        if not self.degrade:
            return None
        return DegradationParams(
            sigma=float(self.sigma),
            quality=int(self.quality) if self.compress else None,
            subsampling=self.subsampling,
            seed=int(self.seed),
        )


def build_demo(
    restorer: Restorer,
    *,
    limit_mb: float = 50.0,
    limit_megapixels: float = 24.0,
    limit_files: int = 16,
) -> Any:
    """Build the page. `serve` shows it, on this machine only; prefer it to ``launch``.

    Args:
        restorer: network and card, as of `libimg.restoration.load_restorer`.
        limit_mb: megabytes of a file.
        limit_megapixels: of an image.
        limit_files: at once.

    Returns:
        ``gradio.Blocks``.

    Raises:
        ImportError: gradio or scikit-image is not installed.

    Example:
        >>> from libimg.restoration import Card
        >>> page = build_demo(Restorer(lambda x: x, Card()))  # doctest: +SKIP
        >>> page.title  # doctest: +SKIP
        'Restoration of noise and JPEG'
    """
    gr = optional("gradio", extra="demo")
    limits = Limits(megabytes=limit_mb, megapixels=limit_megapixels, files=limit_files)
    page = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600))
    folder = Path(page.GRADIO_CACHE)  # the only one of which gradio hands out files
    folder.mkdir(parents=True, exist_ok=True)
    examples = _examples(folder / "examples")

    with page:
        gr.HTML(f"<h1>{TITLE}</h1>{text.introduction(restorer.card, limits)}")
        results = gr.State([])
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                files = gr.File(label="Images", file_count="multiple", height=170, elem_id="files")
                samples = gr.Gallery(
                    [str(path) for path in examples],
                    label="No image at hand? Click one",
                    columns=3,
                    height=150,
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="samples",
                )
                degrade = gr.Checkbox(label="Degrade first", elem_id="degrade")
                with gr.Column(visible=False) as how:
                    sigma = gr.Slider(
                        0, 50, 25, step=1, label="Noise, levels of 255", elem_id="sigma"
                    )
                    compress = gr.Checkbox(True, label="JPEG", elem_id="jpeg")
                    quality = gr.Slider(
                        10, 100, 40, step=1, label="JPEG quality", elem_id="quality"
                    )
                    with gr.Row():
                        layout = gr.Radio(LAYOUTS, value=LAYOUTS[0], label="Chroma subsampling")
                        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
                    note = gr.HTML(elem_id="note")
                go = gr.Button("Restore", variant="primary", elem_id="go")
            with gr.Column(scale=5, min_width=480):
                report = gr.HTML(elem_id="report")
                pair = gr.ImageSlider(
                    label="Before | after",
                    type="filepath",
                    interactive=False,
                    max_height=640,
                    elem_id="pair",
                )
                caption = gr.HTML(elem_id="caption")
                several = gr.Gallery(
                    label="Restored images: click one to look at it",
                    columns=6,
                    height=170,
                    allow_preview=False,
                    interactive=False,
                    visible=False,
                    elem_id="several",
                )
                three = gr.Gallery(
                    label="Degraded, restored, clean",
                    columns=3,
                    height=300,
                    object_fit="contain",
                    interactive=False,
                    visible=False,
                    elem_id="three",
                )
                downloads = gr.File(
                    label="Download", file_count="multiple", interactive=False, elem_id="downloads"
                )
        controls = [degrade, sigma, compress, quality, layout, seed]
        look = [pair, caption, three]

        def view(found: list[Restored], number: int) -> list[Any]:
            if not found:
                return [None, "", gr.Gallery(value=None, visible=False)]
            one = found[number]
            known = one.clean is not None
            shown = [(str(one.before), "degraded"), (str(one.after), "restored")]
            shown += [(str(one.clean), "clean")] if known else []
            images = (str(one.before), str(one.after))
            return [images, text.caption(one), gr.Gallery(value=shown, visible=known)]

        bar = gr.Progress()

        def restore(paths: Any, *values: Any, progress: Any = bar) -> list[Any]:
            given = [Path(path) for path in paths or ()]
            total = min(len(given), limits.files)
            found, failed = restore_uploads(
                given,
                restorer,
                folder,
                degradation=Controls(*values).params(),
                limits=limits,
                progress=lambda n, name: progress((n, total), desc=name, unit="images"),
            )
            row = gr.Gallery(value=[str(r.after) for r in found], visible=len(found) > 1)
            packed = [str(path) for path in pack(found)] or None
            return [found, row, packed, text.report(found, failed), *view(found, 0)]

        def choose(found: list[Restored], event: Any) -> list[Any]:
            return view(found, event.index)

        def sample(event: Any) -> list[Any]:
            return [[str(examples[event.index])], True]

        choose.__annotations__["event"] = gr.SelectData  # tells gradio what to pass
        sample.__annotations__["event"] = gr.SelectData

        quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
        go.click(
            restore,
            [files, *controls],
            [results, several, downloads, report, *look],
            show_progress_on=report,
            api_visibility="private",
        )
        several.select(choose, [results], look, **quiet)
        samples.select(sample, None, [files, degrade], **quiet)
        degrade.change(lambda on: gr.Column(visible=on), [degrade], [how], **quiet)
        gr.on(
            [control.change for control in controls],
            lambda *values: text.listed(range_notes(restorer.card, Controls(*values).params())),
            controls,
            [note],
            **quiet,
        )
    page.queue(default_concurrency_limit=1, max_size=16, api_open=False)
    return page


def _examples(folder: Path) -> list[Path]:
    """Write the photographs of scikit-image that no network was trained on."""
    found = []
    for name, image in photographs(part="test"):
        found.append(folder / f"{name}.png")
        write_image(found[-1], Picture(image.to(torch.float32) / 255))
    return found
