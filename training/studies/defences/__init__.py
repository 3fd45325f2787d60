"""Published defences and `guarded`, side by side: at one cut, under the same attacks, on the same photos."""
