"""Signatures prove where a thinking block was made and that it is unchanged."""

import pytest

from workers.simulator.signatures import NO_BLOCK, Seal, Signer, org_of

SEAL = Seal("claude-opus-5", org_of("key"), b"p" * 16, NO_BLOCK)


def test_a_signature_tells_what_was_sealed():
    signer = Signer("secret")
    signature, block_id = signer.sign(SEAL, "hm")
    found = signer.verify(signature, "hm")
    assert found == Seal(SEAL.model, SEAL.org, SEAL.prefix, NO_BLOCK, block_id)


@pytest.mark.parametrize("text", ["", "hm ", "Hm"])
def test_another_text_does_not_verify(text):
    signer = Signer("secret")
    assert signer.verify(signer.sign(SEAL, "hm")[0], text) is None


def test_another_key_does_not_verify():
    assert Signer("other").verify(Signer("secret").sign(SEAL, "hm")[0], "hm") is None


@pytest.mark.parametrize("signature", ["", "EqMBsig1", "not base64!", "AQ=="])
def test_nonsense_does_not_verify(signature):
    assert Signer("secret").verify(signature, "hm") is None
