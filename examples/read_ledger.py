"""Read the ledger: how much this device has released so far, and what all of it reveals together."""

import tempfile
from pathlib import Path

from securesplit import BudgetError, Bundle, Releaser
from securesplit.device.ledger import Ledger
from securesplit.device.noise_key import load_secret
from securesplit.imaging.synthetic import draw_lesion


def main() -> None:
    """Spend three releases of two photos within a budget, one beyond it, and read what was written down."""
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder)) as ledger:
        releaser = Releaser(Bundle.load(), load_secret(Path(folder)), privacy=8)
        for seed in (1, 2, 1):
            promise = releaser.spend(releaser.release(draw_lesion(seed)), ledger, budget=20)
            total = ledger.total()
            print(f"lesion {seed}: ε {promise.epsilon}, device ε {total.loss.epsilon():.2f} of {total.photos} photos")
        try:
            for seed in range(3, 20):
                releaser.spend(releaser.release(draw_lesion(seed)), ledger, budget=20)
        except BudgetError as error:
            print(f"lesion {seed}: {error.message}")
        total = ledger.total()
        print(f"{total.releases} distinct releases of {total.photos} photos, ε {total.loss.epsilon():.2f}")


if __name__ == "__main__":
    main()
