"""Privacy-hardened split inference: the photo stays on the device, a small certified release travels."""
