"""Model card of an export (`MODEL_CARD.md`): facts that a person needs for deployment, all of them recorded."""

from __future__ import annotations

from aae_toolkit.export.contract import TensorSpec
from aae_toolkit.export.manifest import Manifest, ReductionGate
from aae_toolkit.models.description import Architecture, ModelDescription
from aae_toolkit.text import markdown, percent


def model_card(description: ModelDescription, manifest: Manifest) -> str:
    """Write the Markdown text of the card."""
    a = description.architecture
    lines = [
        f"# Adversarial autoencoder classifier, {description.variant.replace('_', '-')}",
        "",
        f"- encoder `{a.encoder}`, hidden size {a.hidden_size}, {a.n_classes} categories, {a.z_size} style dimensions",
        *_backbone(a),
        f"- images {a.image_shape[0]} x {a.image_shape[1]} x {a.image_shape[2]} (C x H x W), uint8, 0-255",
        *_preparation(description),
        f"- classes: {', '.join(map(markdown, description.class_names))}",
        f"- categories stand for classes by: {markdown(description.category_to_class_from)}",
        f"- written by aae_toolkit {markdown(manifest.toolkit_version)} with "
        + ", ".join(markdown(f"{package} {version}") for package, version in manifest.versions.items()),
        *([f"- ONNX files: ONNX Runtime {oldest} or newer"] if (oldest := manifest.oldest_onnxruntime) else []),
        f"- {_accuracy(manifest)}",
        *_diagnosis(description),
        f"- parity: {_verdict(manifest)}",
        "",
        "| file | inputs | outputs | bytes |",
        "| --- | --- | --- | --- |",
    ]
    for entry in manifest.artifacts:
        inputs, outputs = _specs(entry.contract.inputs), _specs(entry.contract.outputs)
        only = f" (runs on {markdown(entry.compiled_for)} only)" if entry.compiled_for else ""
        lines.append(f"| {_code(entry.file)}{only} | {inputs} | {outputs} | {entry.size_bytes} |")
    lines += [""] + [_reduction(entry.file, entry.gate) for entry in manifest.artifacts if entry.gate]
    lines += ["", "Scaling, BatchNorm and softmax are inside every file; `N` is any batch size.", ""]
    return "\n".join(lines)


def _preparation(description: ModelDescription) -> list[str]:
    p = description.preparation
    return [] if p is None else [f"- image files: {p.in_words()}; `aae predict`, the server and the page do the same"]


def _diagnosis(description: ModelDescription) -> list[str]:
    d = description.diagnosis
    return [] if d is None or d.is_healthy else [f"- **{d.title}** at the end of training: {d.finding}"]


def _backbone(a: Architecture) -> list[str]:
    if a.backbone is None:
        return []
    b = a.backbone
    return [
        f"- backbone {_code(b.name)}, frozen, inside every classifier and encoder: {b.embedding_size} features of"
        f" images of {b.input_size[0]} x {b.input_size[1]} ({b.interpolation})",
        f"- its weights: SHA-256 `{b.sha256}`; licence: {markdown(b.licence)}",
    ]


def _code(name: str) -> str:
    """Return a foreign name as code; a backtick or a bar in it would end the code, or the cell."""
    return f"`{name.replace('`', chr(39)).replace('|', '/')}`"


def _specs(specs: tuple[TensorSpec, ...]) -> str:
    return "; ".join(f"`{s.name}` {s}" for s in specs)


def _accuracy(manifest: Manifest) -> str:
    if manifest.accuracy is None or manifest.parity is None:
        return "accuracy: not measured yet (`aae parity` does)"
    by_class = ""
    if manifest.balanced_accuracy is not None and manifest.macro_f1 is not None:
        by_class = f"; balanced accuracy {percent(manifest.balanced_accuracy)}, macro-F1 {percent(manifest.macro_f1)}"
    split, n = manifest.parity["split"], manifest.parity["n"]
    where = markdown(f"on the {split} split: {percent(manifest.accuracy)} (n = {n})")
    return f"accuracy {where}{by_class}"


def _reduction(file: str, gate: ReductionGate) -> str:
    problems = markdown("; ".join(gate.problems))
    refused = f"; **did not pass, and was kept by force: {problems}**" if problems else ""
    return f"- {_code(file)}: {gate.summary()} ({markdown(gate.device)}){refused}"


def _verdict(manifest: Manifest) -> str:
    if manifest.parity is None:
        return "not checked yet (`aae parity` does)"
    return "every file is the same classifier as the trained model" if manifest.parity["passed"] else "REFUSED"
