"""What hypothesis may ask of the `fast` encoder, for tests of any of its decoders."""

from hypothesis import strategies as st

densities = st.floats(0, 1).flatmap(
    lambda zero: st.floats(0, 1).map(lambda share: ((1 - zero) * share, zero))
)
"""Probabilities of -1 and of 0."""

encoder_options = st.fixed_dictionaries(
    {},
    optional={
        "lanes": st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
        "block_bits": st.integers(10, 22),
        "max_length": st.integers(1, 63),
        "precision": st.integers(8, 16),
    },
)
