"""What a worker shows its operator: health and metrics, the session log, warnings of expiry, systemd."""
