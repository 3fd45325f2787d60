"""The device's side of a diagnosis: photo -> release, a sealed request, an answer; the ledger of what was spent."""
