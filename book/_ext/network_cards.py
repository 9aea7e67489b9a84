"""Sphinx extension: the page of the networks that come with the package, made from their cards."""

from generated_page import setup_page

from repro.pretrained import card, shipped

PAGE = "book/networks"
PLACE = "<!-- networks: {} -->"
TASKS = ("style", "super-resolution")
MEASURES = {"objective": "objective", "psnr": "PSNR", "ssim": "SSIM"}


def title(facts):
    """What a reader calls a network."""
    if facts["task"] == "style":
        return facts["style"]["title"]
    terms = facts["recipe"]["loss"]
    kinds = {"feature": terms["content_layers"], "pixel": terms["pixel_weight"]}
    loss = " and ".join(kind for kind, there in kinds.items() if there)
    name = f"Super-resolution x{facts['recipe']['super_resolution']['factor']}, {loss} loss"
    preset = facts["recipe"]["preset"]
    return name if preset == "modern" else f"{name}, preset {preset}"


def layers(weights):
    """Layers with their weights as a reader would write them."""
    return ", ".join(f"`{layer}` {weight:g}" for layer, weight in weights.items())


def loss(recipe):
    """The terms that a network was trained with."""
    terms = recipe["loss"]
    parts = [f"content {layers(terms['content_layers'])}"] if terms["content_layers"] else []
    if terms["style_layers"]:
        parts.append(f"style {layers(terms['style_layers'])}")
    if terms["pixel_weight"]:
        parts.append(f"pixels {terms['pixel_weight']:g}, {terms['pixel_error']} error")
    if terms["tv_weight"]:
        parts.append(f"total variation {terms['tv_weight']:g}")
    return "; ".join(parts)


def stage(part):
    """What a stage of a training was."""
    batch = part["batch_size"]
    return (
        f"{part['steps']:,} steps of {batch} photo{'s' * (batch > 1)} of {part['size']} px, "
        f"{part['optimizer'].capitalize()} at {part['learning_rate']:g}, {part['schedule']}"
    )


def rows(facts):
    """What there is to say of a network, (what, value)."""
    recipe, stages = facts["recipe"], facts["stages"]
    if facts["task"] == "style":
        style = facts["style"]
        made = ", ".join(style[key] for key in ("author", "year") if key in style)
        yield "style picture", f"{style['title']}, {made}; {style['license']}"
    yield "loss network", f"`{facts['loss_network']['name']}`"
    yield "loss", loss(recipe)
    yield "weights", f"{facts['parameters']:,}"
    steps = "; ".join(map(stage, stages))
    if len(stages) > 1:
        steps = f"{sum(part['steps'] for part in stages):,} steps in {len(stages)} stages: {steps}"
    before = facts["started_from"]
    if before:
        steps += f"; began with the weights of `{before['network']}` ({before['steps']:,} steps)"
    yield "training", steps
    photos = facts["photos"]
    yield "photos", f"{photos['training']:,}, and {photos['held_out']} others held out to judge by"
    yield "best on held-out photos", f"after {facts['steps']:,} steps"
    for name, value in facts["evaluation"].items():
        kind, _, layer = name.partition("/")
        what = f"distance at `{layer}`" if kind == "feature" else MEASURES.get(name)
        if what:
            yield f"{what}, held out", f"{value:,.0f}" if value >= 100 else f"{value:.4g}"
    last = " for the last stage" if len(stages) > 1 else ""
    yield "made on", f"{facts['device']}, {stages[-1]['seconds'] / 60:.0f} minutes{last}"
    yield "license", facts["license"]


def section(name):
    """The section of a network, in Markdown."""
    facts = card(name)
    shown = facts["thumbnail"].partition(";")[0]
    lines = [
        f"### {title(facts)}",
        "",
        f"`{name}`",
        "",
        f"```{{image}} ../src/repro/weights/{name}.jpg",
        f":alt: What the network {name} makes of a photo of {shown}.",
        ":width: 256px",
        "```",
        "",
        "```{list-table}",
        ":stub-columns: 1",
        ":class: network-card",
        *(f"* - {what}\n  - {value}" for what, value in rows(facts)),
        "```",
        "",
    ]
    return "\n".join(lines)


def write_cards(app, text):
    """Replace the placeholders of the page."""
    for task in TASKS:
        names = shipped(task)
        text = text.replace(
            PLACE.format(task), "\n".join(map(section, names)) or "None comes with this version."
        )
    return text


def setup(app):
    return setup_page(app, PAGE, write_cards)
