"""Tables of ``loader`` and ``claims``."""

from collections.abc import Iterator

from benchmarks.reporting.table import Cell, Result, Section, Table, joined, number, signed, size, spread


def loader(section: Result) -> Section:
    """One table."""
    rows = [
        (
            f"x{row['scale']}",
            str(row["patch"]),
            row["network"],
            spread(row["loader_patches_per_s"], 0),
            spread(row["update_patches_per_s"], 0),
            spread(row["times_update"], 1),
        )
        for row in section["rows"]
    ]
    counts = joined(row["times_update"]["count"] for row in section["rows"])
    title = f"Training data: patches per second, {section['threads']} threads"
    intro = (
        f"Batches of {section['batch']} from {section['pictures']} pictures of {size(section['hr_hw'])}, beside "
        f"updates in bfloat16 that never wait; {counts} rounds."
    )
    header = ("scale", "patch", "network", "loader", "update", "times")
    return Section("loader", [Table("loader", title, header, "lllrrr", rows, intro)])


def claims(section: Result) -> Section:
    """What came out, and the memory and the curves behind it."""
    memory, loss, start, optimizer = (section[name] for name in ("memory", "loss", "start", "optimizer"))
    said = [
        (memory["claim"], "; ".join(said for case in memory["cases"] for said in _memory_saved(case))),
        (loss["claim"], _loss_gain(loss)),
        (start["claim"], _start_gain(start, section["updates"])),
        (optimizer["claim"], _optimizer_gain(optimizer)),
    ]
    intro = (
        f"Lim et al., arXiv:1707.02921. Memory of {memory['network']}; PSNR of {section['recipe']} after "
        f"{section['updates']} updates on {section['batch']} patches of {section['patch']}x{section['patch']} (LR), "
        f"one seed, {section['set']}, `{section['protocol']}`."
    )
    title = "What the paper claims, and what comes out here"
    first = Table("claims", title, ("said", "here"), "ll", said, intro)
    recipe = section["recipe"]
    losses = {"L1": loss["l1"], "L2 (MSE)": loss["l2"]}
    optimizers = {"Muon": optimizer["muon"], "Adam": optimizer["adam"]}
    starts = {f"from x{start['from_scale']}": start["pretrained"], "from scratch": start["scratch"]}
    return Section(
        "claims",
        [
            first,
            _training_memory(memory),
            _curves("claims-loss", f"L1 against L2: {recipe}", loss, losses),
            _curves("claims-start", f"Where x{start['scale']} starts from: {recipe}", start, starts),
            _curves("claims-optimizer", f"Muon against Adam: {recipe}", optimizer, optimizers),
        ],
    )


def _memory_saved(case: Result) -> Iterator[str]:
    for other, kind in (("SRResNet", "srresnet"), ("the same blocks with batch norm", "batch_norm")):
        saved = case[f"saved_of_{kind}"]
        yield (
            f"x{case['scale']}, beside {other}: {_less(saved['network'])} kept for the backward pass "
            f"({_less(saved['blocks'])} in the residual blocks), {_less(saved['peak'])} at the peak of the process"
        )


def _less(share: float) -> str:
    return f"{abs(share):.1%} {'less' if share >= 0 else 'more'}"


def _loss_gain(loss: Result) -> str:
    l1_db, l2_db = (loss[name]["points"][-1]["psnr_db"] for name in ("l1", "l2"))
    return f"x{loss['scale']}: L1 ends {_above(loss['gain_db'])} L2 ({l1_db:.2f} and {l2_db:.2f} dB)"


def _optimizer_gain(optimizer: Result) -> str:
    adam_db, muon_db = (optimizer[name]["points"][-1]["psnr_db"] for name in ("adam", "muon"))
    return (
        f"x{optimizer['scale']}: Muon (peak rate {optimizer['muon_rate']:g}) ends {_above(optimizer['gain_db'])} Adam "
        f"({optimizer['adam_rate']:g}; {muon_db:.2f} and {adam_db:.2f} dB) and {_passing(optimizer['passes_at'])}"
    )


def _passing(at: int | None) -> str:
    return f"passes the latter's end at update {at}" if at is not None else "never passes the latter's end"


def _start_gain(start: Result, updates: int) -> str:
    scratch_db, pretrained_db = (start[name]["points"][-1]["psnr_db"] for name in ("scratch", "pretrained"))
    return (
        f"x{start['scale']} from x{start['from_scale']} ends {_above(start['gain_db'])} that from scratch "
        f"({pretrained_db:.2f} and {scratch_db:.2f} dB) and {_passing(start['passes_at'])}; the {updates} updates of "
        f"the x{start['from_scale']} network are not counted"
    )


def _above(difference_db: float) -> str:
    size = f"{abs(difference_db):.2f}"
    if float(size) == 0:
        return "level with"
    return f"{size} dB {'above' if difference_db > 0 else 'below'}"


def _training_memory(memory: Result) -> Table:
    fields = ("blocks_bytes", "network_bytes", "peak_bytes", "weights_bytes")
    rows: list[tuple[Cell | str, ...]] = []
    for case in memory["cases"]:
        for name, kind in (("SRResNet", "srresnet"), ("with batch norm", "batch_norm"), ("ours", "ours")):
            cells = [number(case[kind][field] / 1e6, ".1f") for field in fields]
            rows.append((f"x{case['scale']}", name, *cells))
    patch = f"{memory['patch']}x{memory['patch']}"
    title = f"Memory of training: {memory['network']}, {memory['batch']} patches of {patch} (LR), FP32"
    intro = (
        "Blocks, network: what autograd keeps between forward and backward, counted, without weights. Peak: resident "
        f"memory by which {memory['updates']} updates make a process grow, with gradients and Adam's moments."
    )
    header = ("scale", "", "blocks, MB", "network, MB", "peak, MB", "weights, MB")
    return Table("claims-memory", title, header, "llrrrr", rows, intro)


def _curves(name: str, title: str, claim: Result, runs: dict[str, Result]) -> Table:
    """Of two runs that were validated at the same updates."""
    rows: list[tuple[Cell, ...]] = [
        (
            number(a["update"], "d"),
            number(a["psnr_db"], ".3f"),
            number(b["psnr_db"], ".3f"),
            signed(a["psnr_db"] - b["psnr_db"], 3),
        )
        for a, b in zip(*(run["points"] for run in runs.values()), strict=True)
    ]
    header = ("update", *(f"{each}, dB" for each in runs), "difference, dB")
    skipped = [f"{each}: {run['skipped']} updates were skipped" for each, run in runs.items() if run["skipped"]]
    notes = [f"bicubic: {claim['bicubic_db']:.3f} dB", *skipped]
    said = f"{title} x{claim['scale']}, {claim['photographs']} photographs"
    return Table(name, said, header, "rrrr", rows, "", notes)
