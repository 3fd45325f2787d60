// Takes this session's token out of the page, and goes on to an address without the key.
"use strict";

const token = document.querySelector('meta[name="securesplit-token"]').content;
const lang = new URLSearchParams(location.search).get("lang");

/** Whether the browser keeps what the page needs; where it blocks site data, even to look for it throws. */
function isKept() {
  try {
    sessionStorage.setItem("securesplit-token", token);
    return navigator.cookieEnabled;
  } catch {
    return false;
  }
}

if (isKept()) {
  location.replace(lang ? `/?lang=${encodeURIComponent(lang)}` : "/");
} else {
  document.querySelector("#blocked").hidden = false;
}
