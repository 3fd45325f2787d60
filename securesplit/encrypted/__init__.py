"""The preset ``encrypted``: a worker evaluates its tail on a ciphertext (CKKS); only the device can read the answer.

`parameters` says how hard it is to break, `layout` where numbers lie in a ciphertext, `device` encrypts and decrypts,
`tail` computes, with TenSEAL, which a machine without a wheel of it lacks.

CKKS (Cheon, Kim, Kim, Song, ASIACRYPT 2017) is secure against whoever sees ciphertexts and evaluation keys (IND-CPA).
It is not against whoever also sees what they decrypt to (IND-CPA-D: Li, Micciancio, EUROCRYPT 2021), so a decrypted
answer stays on the device.
"""
