"""How well a bundle does as it is deployed: figures with intervals, baseline, report, model card."""
