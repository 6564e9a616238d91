"""Material, damage and judgement of ``python -m benchmarks fuzz``: valid files, ways to spoil them, and the verdict."""
