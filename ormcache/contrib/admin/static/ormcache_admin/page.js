"use strict";
// Reads the page anew every ten seconds, while somebody has asked for that. Opened details stay open, and the focus
// stays where it is; while something is selected, or while the page is out of sight, nothing changes.
(() => {
    const KEY = "ormcache.refresh";
    const SECONDS = 10;

    function button() {
        return document.getElementById("oc-auto");
    }

    function show() {
        const shown = button();
        if (shown) {
            shown.hidden = false;
            shown.setAttribute("aria-pressed", String(sessionStorage.getItem(KEY) === "on"));
        }
    }

    function replace(page) {
        const old = document.getElementById("ormcache");
        const focused = old.contains(document.activeElement) ? document.activeElement : null;
        const focusedIn = focused && focused.closest("[id]");
        for (const details of old.querySelectorAll("details[open][id]")) {
            const same = page.querySelector("#" + CSS.escape(details.id));
            if (same) {
                same.open = true;
            }
        }
        const scrolled = [...old.querySelectorAll(".oc-wide")].map((one) => [one.scrollLeft, one.scrollTop]);
        old.replaceWith(page);
        [...page.querySelectorAll(".oc-wide")].forEach((one, place) => {
            [one.scrollLeft, one.scrollTop] = scrolled[place] || [0, 0];
        });
        show();
        if (focusedIn) {
            const same = document.getElementById(focusedIn.id);
            const target = same && (focused === focusedIn ? same : same.querySelector(focused.tagName));
            if (target) {
                target.focus({ preventScroll: true });
            }
        }
    }

    function isBusy() {
        const page = document.getElementById("ormcache");
        const selection = document.getSelection();
        const reads = document.activeElement.classList.contains("oc-wide");
        return document.hidden || reads || (!selection.isCollapsed && page.contains(selection.anchorNode));
    }

    async function refresh() {
        if (sessionStorage.getItem(KEY) !== "on" || isBusy()) {
            return;
        }
        try {
            const response = await fetch(location.href, { credentials: "same-origin" });
            const read = new DOMParser().parseFromString(await response.text(), "text/html");
            const page = read.getElementById("ormcache");
            if (response.ok && page && !isBusy()) {
                replace(document.adoptNode(page));
            }
        } catch {
            // The site does not answer: the figures stay as they are, with their time beside them.
        }
    }

    document.addEventListener("click", (event) => {
        if (event.target.id === "oc-auto") {
            sessionStorage.setItem(KEY, sessionStorage.getItem(KEY) === "on" ? "off" : "on");
            show();
        }
    });
    show();
    setInterval(refresh, SECONDS * 1000);
})();
