"""Tables of ``quality`` and ``seams``. Numbers of different protocols never share a table."""

from benchmarks.reporting.names import missing, shown
from benchmarks.reporting.table import Cell, Result, Row, Section, Table, number, signed, size

_PUBLISHED = ("bicubic", "A+", "SRCNN", "VDSR", "LESRCNN", "EDSR-baseline", "EDSR", "MDSR", "EDSR+", "MDSR+")
ENSEMBLE = "openvino-fp32-ensemble"


def quality(section: Result) -> Section:
    """For each protocol: how good, and what precision and folding cost."""
    protocols = dict.fromkeys(case["protocol"] for case in section["cases"])
    tables = []
    for protocol in protocols:
        cases = [case for case in section["cases"] if case["protocol"] == protocol]
        tables.append(_scores(protocol, cases))
        if any(case["published"] for case in cases):
            tables.append(_beside_published(protocol, cases))
        tables.append(_losses(protocol, cases))
    return Section("quality", tables)


def seams(section: Result) -> Section:
    """One table."""
    rows = [
        (
            Cell(f"{row['halo_px']}, exact" if row["is_exact"] else str(row["halo_px"]), row["halo_px"]),
            str(row["tiles"]),
            number(row["max_difference"], ".2g"),
            number(row["changed_share"], ".4%"),
        )
        for row in section["rows"]
    ]
    title = f"What tiles change: {section['model']}, {size(section['lr_hw'])} LR, {section['core_px']} pixels a tile"
    intro = "In FP32, against the picture upscaled whole. Exact: the receptive radius, which is used unless told."
    header = ("halo, LR pixels", "tiles", "largest difference, grey levels", "changed samples")
    return Section("seams", [Table("seams", title, header, "rrrr", rows, intro)])


def _loss_row(case: Result, row: Result) -> Row:
    """One candidate beside FP32 PyTorch."""
    return (
        case["model"],
        case["set"],
        shown(row["name"]),
        number(row["psnr_db"], ".3f"),
        number(row["ssim"], ".4f"),
        signed(row["loss_db"], 4),
        signed(row["worst_loss_db"], 4),
        number(row["rms_difference"], ".2g"),
        number(row["max_difference"], ".2g"),
        number(row["changed_share"], ".2%"),
    )


_LOSS_HEADER = (
    *("model", "set", "", "PSNR, dB", "SSIM", "loss, dB", "worst picture"),
    *("rms", "largest", "changed samples"),
)


def _losses(protocol: str, cases: list[Result]) -> Table:
    rows = [_loss_row(case, row) for case in cases for row in case["rows"]]
    notes = dict.fromkeys(line for case in cases for line in missing(case["missing"]))
    intro = (
        "Loss: PSNR of FP32 PyTorch on the unfolded network less this one; negative is a gain. Differences from it in "
        "grey levels before rounding, samples after."
    )
    title = f"What precision, folding and the self-ensemble change, `{protocol}`"
    return Table(f"losses-{protocol}", title, _LOSS_HEADER, "lllrrrrrrr", rows, intro, list(notes))


def _scores(protocol: str, cases: list[Result]) -> Table:
    rows = []
    for case in cases:
        by_name = {row["name"]: row for row in case["rows"]}
        ensemble = by_name.get(ENSEMBLE)
        rows.append(
            (
                case["model"],
                case["set"],
                score(by_name[case["reference"]], 3),
                score(ensemble, 3),
                score(bicubic_of(case), 3),
            )
        )
    header = ("model", "set", "PSNR / SSIM", "with self-ensemble", "bicubic")
    title = f"How good: PSNR, dB, and SSIM, `{protocol}`"
    return Table(f"scores-{protocol}", title, header, "llrrr", rows, "FP32 PyTorch.")


def _beside_published(protocol: str, cases: list[Result]) -> Table:
    rows = []
    for case in cases:
        if not case["published"]:
            continue
        published = {row["method"]: row for row in case["published"]}
        by_name = {row["name"]: row for row in case["rows"]}
        ours = (by_name[case["reference"]], by_name.get(ENSEMBLE), bicubic_of(case))
        cells = (score(each, 2) for each in (*ours, *(published.get(method) for method in _PUBLISHED)))
        rows.append((case["model"], case["set"], *cells))
    header = ("model", "set", "ours", "ours, self-ensemble", "bicubic, ours", *_PUBLISHED)
    intro = "Lim et al., arXiv:1707.02921, table 3, and others; they were trained on DIV2K and more. Whole sets only."
    gray = {case["set"]: case["gray_pictures"] for case in cases if case["gray_pictures"] and case["published"]}
    if gray:
        found = ", ".join(f"{count} in {name}" for name, count in gray.items())
        intro += f" Papers take gray pictures ({found}) without luma's studio range, which lowers such a mean."
    title = f"Beside what was published: PSNR, dB, and SSIM, `{protocol}`"
    return Table(f"published-{protocol}", title, header, "ll" + "r" * (len(header) - 2), rows, intro)


def bicubic_of(case: Result) -> Result:
    """Its score on the same pictures."""
    return {"psnr_db": case["bicubic_psnr_db"], "ssim": case["bicubic_ssim"]}


def score(found: Result | None, digits: int) -> Cell:
    """PSNR and, where there is one, SSIM."""
    if found is None:
        return Cell("")
    ssim = "" if found["ssim"] is None else f" / {found['ssim']:.4f}"
    return Cell(f"{found['psnr_db']:.{digits}f}{ssim}", found["psnr_db"])
