// Takes this session's token out of the page, and goes on to an address without the key.
"use strict";

const token = document.querySelector('meta[name="securesplit-token"]').content;
sessionStorage.setItem("securesplit-token", token);
const lang = new URLSearchParams(location.search).get("lang");
location.replace(lang ? `/?lang=${encodeURIComponent(lang)}` : "/");
