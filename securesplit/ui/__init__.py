"""The local page: the journey of a photo in a browser on this very machine.

- It listens on 127.0.0.1 alone, and answers only the browser that opened its address (`guard`).
- It has no line of HTML, script or style from elsewhere, and its pages may load none (Content-Security-Policy).
- A photo is bytes in memory, from the request to the head; nothing of it is written down unless the user opens a
  history with a passphrase (`history`), and then encrypted.
- What is asked, sent and counted is `securesplit.AsyncClient`'s business, as for every other program.
"""
