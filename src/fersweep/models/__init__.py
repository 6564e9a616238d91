"""The networks: backbones built from attention, activation and norm factories (docs/reference/models.md)."""
