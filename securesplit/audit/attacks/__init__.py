"""Attacks A0 to A8 on what leaves the device; each module names the paper it comes from.

The attacker is the tail worker: it knows the head and the defence, holds photos of its own, keeps what it is sent. What
all attacks share is in `setting`; what they need of scikit-learn, SciPy or TensorFlow they import when they run.

====  ============  ======================================================
A0    baselines        what an attacker has who sees the predicted label only
A1    ridge         closed-form linear inverse, global or patch by patch
A2    optimise      search for a photo that gives the same release
A3    decoder       a network trained through the defended pipeline
A4    optimise      A3's answer, refined by A2
A5    (any)         the mean of k releases, see `setting.Surface.observe`
A6    identify      which of N known photos is it?
A7    lesion        the gallery holds another photo of the same lesion
A8    attributes    age, sex, body site
====  ============  ======================================================
"""
