"""The confidence from which a model's answers are right often enough: the threshold of `mien predict`.

    python benchmarks/unsure.py --data fer2013.csv [--votes fer2013new.csv] [--model mien-s] [--accuracy 0.9]

For thresholds in steps of 0.05, and for the lowest one that reaches the wanted accuracy, it prints the share of faces above the
threshold and the accuracy above and below it. With --votes the crowd head is judged by its votes, else the label head.
"""

import numpy as np

from mien.inference.classifier import DEFAULT_MODEL, Classifier
from shared import parse, read_judged

if __name__ == "__main__":
    arguments = parse(__doc__, data=str, votes=None, split="validation", model=DEFAULT_MODEL, accuracy=0.9, threads=1)
    classifier = Classifier(arguments.model, threads=arguments.threads, head="crowd" if arguments.votes else "label")
    faces = read_judged(arguments.data, arguments.votes, arguments.split, classifier.size, classifier.channels)
    probabilities = classifier.predict_proba(np.ascontiguousarray(faces.images))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == faces.targets.argmax(axis=1)
    steps = np.round(np.arange(0, 1, 0.01), 2).tolist()
    enough = [step for step in steps if right[confidence >= step].mean() >= arguments.accuracy][:1]
    print(f"{len(right):,} faces, all answered: {right.mean():.1%} right")
    print(f"{'threshold':>9}{'as sure':>10}{'right':>8}{'right below':>13}")
    for threshold in sorted({*np.round(np.arange(0.3, 0.951, 0.05), 2).tolist(), *enough}):
        sure = confidence >= threshold
        if sure.any() and not sure.all():
            mark = f"  <- the lowest with {arguments.accuracy:.0%}" if threshold in enough else ""
            print(f"{threshold:>9.2f}{sure.mean():>10.1%}{right[sure].mean():>8.1%}{right[~sure].mean():>13.1%}{mark}")
