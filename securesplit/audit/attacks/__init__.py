"""Attacks A0 to A13 on what leaves the device; each module names the paper it comes from.

The attacker is the tail worker: it knows the head and the defence, holds photos of its own, keeps what it is sent. What
all attacks share is in `securesplit.audit.setting`; scikit-learn, SciPy and TensorFlow they import when they run.
`securesplit.audit.registry` lists their specs and says how to add one.

====  ==============  ======================================================
A0    guesses         what an attacker has who sees the predicted label only
A1    ridge           closed-form linear inverse, global or patch by patch
A2    search          search for a photo that gives the same release
A3    decoder         a network trained through the defended pipeline
A4    search          A3's answer, refined by A2
A5    averaging       A1 and A3 on the mean of k releases
A6    identification  which of N known photos is it?
A7    lesion          the gallery holds another photo of the same lesion
A8    attributes      age, sex, body site, properties of the picture
A9    generative      search among photos that a generator can draw
A10   persons         whose are k releases of one device?
A11   copies          the gallery holds an altered copy of the photo
A12   membership      was the photo in the training set?
A13   stealing        queries until a copy of the tail gives its answers
====  ==============  ======================================================

`optimise` is the search itself, `graph` and `whitebox` are the deployed head without and with gradients.
"""
