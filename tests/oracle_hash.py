"""SplitMix64 and lattice hashing over again in Python's whole numbers, from the paper and the published constants."""

_MASK = 2**64 - 1


def mix(bits: int) -> int:
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return bits ^ (bits >> 31)


def key(seed: int, stream: int) -> int:
    return mix((seed + (stream + 1) * 0xD6E8FEB86659FD93) & _MASK)


def lattice_hash(stream_key: int, row: int, column: int) -> int:
    return mix((stream_key + row * 0x9E3779B97F4A7C15 + column * 0xC2B2AE3D27D4EB4F) & _MASK)
