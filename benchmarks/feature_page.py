"""Sections of the page of results about rows of features and about embeddings of photographs."""

from __future__ import annotations

import numpy as np
from tables import Results, mean_and_spread, table

SECTIONS = {
    "rows": """\
## Rows of features

The estimators' defaults, `SemiSupervisedAAEClassifier()`, with 2 to 20 labels a class; test accuracy in percent on a
fixed, stratified 30% of the rows (`python benchmarks/feature_rows.py --embeddings photos.npz`). *embeddings* are those
of the photographs above by EfficientNet-Lite0, trained on ImageNet. A draw chooses the labels; the other training rows
have none. Logistic regression and label spreading see standardized rows, and have their defaults otherwise. Settings
were chosen on training rows, with other draws. Seconds are of one core of machine A, which was busy.
""",
    "rows-clusters": """\
`AAEClusterer(K)`, with as many clusters as classes, by the adjusted Rand index (1 is perfect), beside k-means on
standardized rows (10 initializations):
""",
    "backbone": """\
## Photographs with a backbone

The photographs above at 224 x 224 pixels, with EfficientNet-Lite0 as the backbone; default settings, with 2 to 20
labels a class. Test accuracy in percent; *validation* is ours on validation images. A seed draws the splits and the
labels, and starts the training. `python benchmarks/backbone_rows.py --photos-dir PHOTOS --weights WEIGHTS` measures
these figures: its draws are those of the commands below, except that each training image has eight of 24 views that all
draws share. Settings were chosen on validation and unlabelled images of other draws. The other methods get the same
embeddings, standardized unless the column says otherwise, and have their defaults otherwise. Seconds are of one core
of an AMD EPYC, which was busy.

```sh
aae init-datasets --data data --source folder --raw-dir PHOTOS --image-size 224 --channels 3 --labeled 10 \\
    --seed 0 --backbone timm:tf_efficientnet_lite0 --backbone-weights WEIGHTS
aae train semi-supervised --data data --seed 0
```
""",
    "backbone-clusters": """\
The same without labels, K = 5 (`--labeled 0`, then `aae train unsupervised --data data --n-classes 5 --seed 0`).
Validation images match categories to classes one to one. *largest category* is the share of test images in it; the
largest class has 40%.
""",
}
_ASIDE = ("seconds", "config_sha256")  # of a run, besides accuracies
_FACTS = ("validation", "largest category")  # shown, and no accuracy of a method on test images


def feature_rows(results: Results) -> str:
    """Tables of rows of features and of their clusters. Empty if none was measured."""
    parts = []
    for key, note in SECTIONS.items():
        cells = results.get(key, {})
        if not cells:
            continue
        columns = [name for name in next(iter(next(iter(cells.values())).values())) if name not in _ASIDE]
        methods = [name for name in columns if name not in _FACTS]
        lines = []
        for name, runs in cells.items():
            by_method = {m: [run[m] for run in runs.values()] for m in ("seconds", *columns)}
            best = max(methods, key=lambda m: np.mean(by_method[m]))
            means = (("**" * (m == best)) + mean_and_spread(by_method[m]) + ("**" * (m == best)) for m in columns)
            lines.append([name, *means, str(len(runs)), f"{np.mean(by_method['seconds']):.1f}"])
        parts += [note, table(["", *columns, "n", "seconds a fit"], lines) + "\n"]
    return "\n".join(parts)
