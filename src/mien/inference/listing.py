"""The embedded models, with what they tell of themselves."""

from mien.inference.classifier import Classifier, embedded_models


def describe_models() -> str:
    """Write for every embedded model its size, what it takes and answers, its heads where it has two, and its card."""
    lines = []
    width = max(map(len, embedded_models())) + 2
    for name in embedded_models():
        model = Classifier(name)
        kind = f"{model.size} px, {'gray' if model.channels == 1 else 'colour'}"
        megabytes = model.path.stat().st_size / 1e6
        lines.append(f"{name:<{width}}{megabytes:.1f} MB  {model.parameters:,} parameters  {kind}  {', '.join(model.labels)}")
        if len(model.heads) > 1:
            lines.append(f"{'':<{width}}heads: {', '.join(model.heads)} (--head; {model.head} answers where none is named)")
        lines.append(f"{'':<{width}}card: {model.path.with_suffix('.md')}")
    return "\n".join(lines)
