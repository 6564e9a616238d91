"""The networks: backbones built from attention, activation and norm factories (docs/models.md)."""
