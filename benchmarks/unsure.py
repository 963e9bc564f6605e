"""From which confidence on a model's answers are right often enough: the threshold of `mien predict`.

    python benchmarks/unsure.py --data fer2013.csv [--votes fer2013new.csv] [--model mien-s] [--accuracy 0.9]

For thresholds in steps of 0.05, and for the least one that reaches the wanted accuracy, it prints how many of the faces are
that sure, and how often the answers above and below the threshold are right. With --votes the crowd head answers and its votes
judge, as when people look at photos; without, the label head and the labels.
"""

import argparse

import numpy as np

from mien.data.reading import read_faces
from mien.data.source import DataSource
from mien.inference.classifier import DEFAULT_MODEL, Classifier


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="labelled faces, as `mien evaluate --data` takes them")
    parser.add_argument("--votes", help="FER+ votes, fer2013new.csv")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--accuracy", type=float, default=0.9, help="of the answers that are not held back (default 0.9)")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()

    classifier = Classifier(arguments.model, threads=arguments.threads, head="crowd" if arguments.votes else "label")
    source = DataSource(arguments.data, votes=arguments.votes, votes_as="beside" if arguments.votes else "distribution")
    faces = read_faces(source, classifier.size, classifier.channels).split(arguments.split)
    faces = faces.judged_by_votes() if arguments.votes else faces
    probabilities = classifier.predict_proba(np.ascontiguousarray(faces.images))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == faces.targets.argmax(axis=1)
    thresholds = np.round(np.arange(0.3, 0.951, 0.05), 2).tolist()
    enough = [
        bar for bar in np.round(np.arange(0, 1, 0.01), 2).tolist() if right[confidence >= bar].mean() >= arguments.accuracy
    ]
    print(f"{len(right):,} faces, all answered: {right.mean():.1%} right")
    print(f"{'threshold':>9}{'as sure':>10}{'right':>8}{'right below':>13}")
    for bar in sorted({*thresholds, *enough[:1]}):
        sure = confidence >= bar
        if sure.any() and not sure.all():
            mark = f"  <- the least with {arguments.accuracy:.0%}" if enough[:1] == [bar] else ""
            print(f"{bar:>9.2f}{sure.mean():>10.1%}{right[sure].mean():>8.1%}{right[~sure].mean():>13.1%}{mark}")


if __name__ == "__main__":
    main()
